/* faultline-modelfs: make, serve, check and look into devices of the model filesystem. */
#include "storage/modelfs/tool/tool.h"

#include <stdio.h>
#include <string.h>

static const struct tool_command commands[] = {
    {"format", "[OPTION]... DEVICE", "make an empty device in a file",
     "Makes an empty model filesystem in the file DEVICE, which need not be there. Sizes are "
     "bytes,\n"
     "or take K, M, G, T.\n"
     "\n"
     "      --size SIZE        of the device (1G); the file is sparse\n"
     "      --block SIZE       of its blocks, a power of two, 4K to 2M (4K)\n"
     "      --files N          room for so many files (64)\n"
     "      --journal SIZE     of the metadata journal (by the size of the device)\n"
     "      --without-nosync   a filesystem that grants no no-sync mapping\n"
     "      --force            even if DEVICE holds something\n",
     tool_format},
    {"serve", "DEVICE", "serve a device to programs that map its files, until Ctrl-C",
     "Serves the device, in the foreground, until SIGINT or SIGTERM. Programs attach to it by\n"
     "themselves (faultline/modelfs.h, --store modelfs:DEVICE/NAME).\n",
     tool_serve},
    {"mount", "[--allow-other] DEVICE DIRECTORY", "the same, and show its files in a directory",
     "Serves the device as serve does, and mounts it on DIRECTORY through FUSE: cp, dd, "
     "fallocate,\n"
     "truncate, mv, rm work there, on files that programs have mapped too. Ends on SIGINT, SIGTERM "
     "or\n"
     "umount.\n"
     "\n"
     "      --allow-other      other users may look into DIRECTORY\n",
     tool_mount},
    {"fsck", "[--json] DEVICE", "check a device; exit status 0 clean, 1 damaged, 2 not checked",
     "Checks everything that a device claims, one finding a line, and writes nothing. The device "
     "must\n"
     "not be served.\n"
     "\n"
     "      --json             report as one JSON object\n"
     "\n"
     "Exit status: 0 clean, 1 damaged, 2 could not check.\n",
     tool_fsck},
    {"dump", "[--json] DEVICE", "print superblock, files, extents with flags, and journal",
     "Prints what is on the device, as a power cut would leave it now: superblock, files, extents\n"
     "with their flags, journal. The device may be served.\n"
     "\n"
     "      --json             as one JSON object\n",
     tool_dump},
    {"powercut", "[--seed N] DEVICE", "cut a served device's power: leave it as a crash would",
     "Kills every process that has files of the device mapped and leaves the device as a power "
     "cut\n"
     "would: what was not flushed and fenced is gone, or not, line by line.\n"
     "\n"
     "      --seed N           draw what is left of it by N; 0: nothing (0)\n",
     tool_powercut},
    {"ls", "DEVICE", "list files: bytes, bytes allocated, name",
     "Lists the files: size and allocated space in bytes, name. Of a device that is served: those "
     "that\n"
     "a power cut would leave now.\n",
     tool_ls},
    {"df", "DEVICE", "how much room there is",
     "Tells how many blocks and files there is room for.\n", tool_df},
    {"cp", "FROM TO", "copy; each is a file, - or DEVICE:NAME",
     "Copies bytes between ordinary files and files of devices. FROM and TO are each a path, - "
     "for\n"
     "standard input or output, or DEVICE:NAME. What TO held is replaced.\n",
     tool_cp},
    {"rm", "DEVICE:NAME...", "remove files", "Removes the files. One that is mapped stays.\n",
     tool_rm},
    {"mv", "DEVICE:NAME NAME", "rename a file; what has the new name is replaced",
     "Renames a file. What has the new name is replaced, unless it is mapped.\n", tool_mv},
    {"clone", "DEVICE:NAME NAME", "make a file that shares all blocks of another",
     "Makes, or replaces, a file that shares all blocks of another; the first write to one copies\n"
     "it. Refused while either is mapped no-sync.\n",
     tool_clone},
    {"truncate", "DEVICE:NAME SIZE", "set a file's size",
     "Sets the size. What lies behind is given back, durably.\n", tool_truncate},
    {"allocate", "[--keep-size] DEVICE:NAME OFFSET LENGTH", "allocate space without writing",
     "Allocates, unwritten, what the range lacks.\n"
     "\n"
     "      --keep-size        even behind the end; the size stays\n",
     tool_allocate},
    {"punch", "DEVICE:NAME OFFSET LENGTH", "give back the blocks of a range, which reads as zeros",
     "Gives back the whole blocks of the range, durably; what else is in it is zeroed.\n",
     tool_punch},
    {"collapse", "DEVICE:NAME OFFSET LENGTH", "take a range out; what is behind moves up",
     "Takes whole blocks out of the file, durably; what is behind moves up.\n", tool_collapse},
    {"demo", "[OPTION]...", "show the lost block: plain and no-sync mapping, power cut",
     "Plays what no-sync mappings are for: block 0 of a file is durable, the file grows, a store "
     "to\n"
     "block 1 faults, block 0 links to it, both are flushed and fenced, the power fails. Shows "
     "what\n"
     "is left of it in a plain mapping and in a no-sync mapping.\n"
     "\n"
     "      --mapped           real mappings of this process, page faults answered through\n"
     "                         userfaultfd (where the machine lets us)\n"
     "      --table            page tables in memory: nothing but the model takes part\n"
     "      --device PATH      with real mappings: make the device there, and leave it\n"
     "      --cuts N           power cuts, each after a new run (8)\n"
     "\n"
     "Exit status: 0 if the plain mapping has lost the block every time and the no-sync one "
     "never.\n",
     tool_demo},
};
enum { COMMANDS_COUNT = sizeof(commands) / sizeof(commands[0]) };

static int
help(void)
{
    printf("Usage: faultline-modelfs COMMAND [ARGUMENT]...\n"
           "\n"
           "Works on devices of the model filesystem: ordinary files that hold a small filesystem "
           "whose\n"
           "files can be mapped no-sync. docs/modelfs.md tells more.\n"
           "\n");
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        printf("  %s %s\n        %s\n", commands[i].name, commands[i].arguments,
               commands[i].summary);
    }
    printf("\n"
           "      --help     this text; COMMAND --help tells a command's options\n"
           "      --version  print the version\n"
           "\n"
           "Exit status: 0 done, 1 failed, 2 wrong usage.\n");
    return fflush(stdout) == 0 ? TOOL_DONE : TOOL_FAILED;
}

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return help();
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("faultline-modelfs %s\n", FL_VERSION_TEXT);
        return fflush(stdout) == 0 ? TOOL_DONE : TOOL_FAILED;
    }
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return commands[i].run(&commands[i], argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "faultline-modelfs: %s%s%s\nTry: faultline-modelfs --help\n",
            name[0] == '\0' ? "name a command" : "no command is called '", name,
            name[0] == '\0' ? "" : "'");
    return TOOL_USAGE;
}
