/* What each filesystem must answer, and what Linux does where it differs by design. The kernels' answers were found by
 * running the scenarios on 6.1; a kernel that answers otherwise fails the test, so that the table stays true. */
#include "tests/contract/results.h"

#define SAME(text) .model = (text), .ext4 = (text), .xfs = (text)
#define MODEL(text) .model = (text)
#define LINUX(text) .ext4 = (text), .xfs = (text)

const struct expectation expectations[] = {
    /* C1 */
    {"request", "commits of a query", SAME("0")},
    {"request", "a request that can't be granted", SAME("FL_NOT_SUPPORTED")},
    {"request", "the same without MAP_SHARED_VALIDATE", LINUX("FL_OK"),
     .why = "Without MAP_SHARED_VALIDATE the flag is ignored: the mapping promises nothing and "
            "nobody says so."},
    /* C2 */
    {"fault on a hole", "commits of a write fault", SAME("1")},
    {"fault on a hole", "commits of a second store", SAME("0")},
    {"fault on a hole", "commits of the first fault of the next mapping", MODEL("1"), LINUX("0"),
     .why = "The model's flag went with the last mapping; the next one's first fault sets it "
            "again. Linux has none, and the "
            "time stamps that a fault changes don't count as metadata that MAP_SYNC waits for."},
    {"fault on a hole", "flushed data survives", SAME("yes")},
    {"grow and link", "a linked block survives", SAME("yes")},
    /* C3 */
    {"read fault", "commits of a read fault", SAME("0")},
    {"read fault", "a read fault allocates", SAME("no")},
    {"read fault", "commits of reading another's new block", SAME("0")},
    {"read fault", "what was only seen survives", SAME("no")},
    /* C4 */
    {"fault on a preallocated block", "commits of a fault on a preallocated block", SAME("1")},
    {"fault on a preallocated block", "a fault converts only its block", MODEL("yes"), .ext4 = "no",
     .xfs = "yes",
     .why = "ext4 would rather write zeros to a few neighbours than split a small extent "
            "(extent_max_zeroout_kb)."},
    {"fault on a preallocated block", "flushed data survives", SAME("yes")},
    /* C5 */
    {"grow and link, plain mapping", "a linked block survives", SAME("no")},
    {"plain mapping first", "a plain store sets the flag", MODEL("no")},
    {"plain mapping first", "commits of a fault on another's new block", SAME("1")},
    {"plain mapping first", "a no-sync store sets the flag", MODEL("yes")},
    {"plain mapping first", "flushed data survives", SAME("yes")},
    /* C6 */
    {"read under a mapping", "a read sees a store that was not flushed", SAME("yes")},
    {"read under a mapping", "commits of a read", SAME("0")},
    {"read under a mapping", "a store after a read faults", MODEL("yes"), LINUX("no"),
     .why = "Nothing is write-protected while read(2) copies: a copy may hold parts of a store "
            "that comes meanwhile."},
    /* C7 */
    {"write under a mapping", "the mapping sees a write", SAME("yes")},
    {"write under a mapping", "an overwrite survives without fsync", SAME("yes")},
    {"write under a mapping", "a write into a hole survives without fsync", MODEL("yes"),
     LINUX("no"),
     .why = "The block's allocation waits in the journal for fsync, as for any write(2)."},
    /* C8 */
    {"copy", "a copy has the flag", MODEL("no")},
    {"copy", "a copy survives without fsync", SAME("no")},
    {"clone", "cloning what is mapped", MODEL("FL_BUSY"), LINUX("FL_NOT_SUPPORTED"),
     .reflink = "FL_OK",
     .why = "ext4, and XFS made with reflink=0, clone nothing at all. XFS with reflink=1 shares "
            "the blocks under a "
            "living no-sync mapping."},
    {"clone", "a flushed store after it survives", SAME("yes"), .reflink = "no",
     .why = "XFS with reflink=1 loses the last block that was copied on write, though it was "
            "flushed (seen after an even number of such faults). A bug, not a design: expected to "
            "fail here until a kernel mends it."},
    /* C9 */
    {"punch", "every mapping reads zeros after it", SAME("yes")},
    {"punch", "the remainders keep the flag", MODEL("yes")},
    {"punch", "a punch survives without fsync", MODEL("yes"), LINUX("no"),
     .why = "Mappings are zapped, but nothing is committed before the call returns: a power cut "
            "rolls it back."},
    {"truncate", "an access beyond the end is refused", SAME("yes")},
    {"truncate", "what was cut off reads as zeros", SAME("yes")},
    {"truncate", "a truncation survives without fsync", MODEL("yes"), LINUX("no"),
     .why = "As a punch."},
    {"collapse", "every mapping sees what moved up", SAME("yes")},
    {"collapse", "a collapse survives without fsync", MODEL("yes"), LINUX("no"),
     .why = "As a punch."},
    {"reuse", "freed blocks are given out at once", SAME("yes")},
    {"reuse", "the new owner's flushed data survives", SAME("yes")},
    /* C10 */
    {"flag", "there is a flag per block", MODEL("yes"), LINUX("no"),
     .why = "ext4 and XFS know only whether an inode has uncommitted changes: a fault commits all "
            "of them."},
    {"flag", "a write fault sets it on its block only", MODEL("yes")},
    {"flag", "the last unmap commits", MODEL("yes"), LINUX("no"),
     .why = "Without a flag there is nothing that would have to be cleared."},
    {"flag", "the flag goes with the last mapping", MODEL("yes")},
    {"flag", "the size at the last unmap survives", MODEL("yes"), LINUX("no"),
     .why = "As above: unmapping promises nothing."},
    /* C11 */
    {"recovery", "a committed block survives", SAME("yes")},
    {"recovery", "an uncommitted block survives", SAME("no")},
    {"recovery", "a flag is left after recovery", MODEL("no")},
    {"recovery", "commits of a second recovery", MODEL("0")},
    /* C12 */
    {"fsync", "a plain store after fsync faults", SAME("yes")},
    {"fsync", "a no-sync store after fsync faults", SAME("yes")},
    {"fsync", "commits of a no-sync fault after fsync", SAME("0")},
    {"fsync", "stores before fsync survive", SAME("yes")},
    /* C13 */
    {"no space", "a store into a hole, device full", SAME("SIGBUS")},
    {"no space", "populating it", MODEL("FL_NO_SPACE"), LINUX("EFAULT"),
     .why = "MADV_POPULATE_WRITE says EFAULT for whatever a fault could not do. Who wants the true "
            "error allocates first."},
    {"no space", "a store to a preallocated block works", SAME("yes")},
    {"no space", "a retry after space was freed works", SAME("yes")},
    {"no space", "flushed data survives", SAME("yes")},
    /* C14, C15 */
    {"several processes", "a punch returns while a mapper is stopped", SAME("yes"),
     .processes = true},
    {"several processes", "the mapper sees it when it goes on", SAME("yes"), .processes = true},
    {"fork", "the child of a fork has", MODEL("no access"), LINUX("the same"), .processes = true,
     .why = "A child inherits the mapping and its promise. The model's client keeps it from "
            "children: nobody would answer their page faults."},
    {"fork", "its flushed store survives", MODEL("no"), LINUX("yes"), .processes = true},
    /* C16 */
    {"names", "a name survives after fsync", SAME("yes")},
    {"names", "a name survives without fsync", SAME("no")},
    {"rename, then store", "the rename is rolled back and the store survives", SAME("yes")},
    {"punch, then store", "a store to another block after it faults", MODEL("no"), LINUX("yes"),
     .why = "Before they take anything away, both wait for direct users of the file's pages, and "
            "for that they unmap all "
            "of it. The next store faults, and the fault commits the punch: in one file the order "
            "holds, by luck."},
    {"punch, then store", "the punch is rolled back and the store survives", SAME("no")},
    {"punch, then store elsewhere", "the punch is rolled back and the store survives", MODEL("no"),
     LINUX("yes"),
     .why = "A store through an entry that is writable already waits for no journal. Who punches "
            "what he has unlinked "
            "in another file calls fsync in between."},
    {"truncate, then store elsewhere", "the truncation is rolled back and the store survives",
     MODEL("no"), LINUX("yes"), .why = "As a punch."},
    /* C17 */
    {"failed commit", "a store into a hole", SAME("SIGBUS")},
    {"failed commit", "fsync after it", SAME("FL_IO")},
    {"failed commit", "a punch after it", SAME("FL_IO")},
    {"failed commit", "the next store into a hole", SAME("SIGBUS")},
    {"failed commit", "what was durable before survives", SAME("yes")},
    {0},
};
