/* An outside program: a store made, written, closed, opened again and read. argv[1]: its path. */
#include <faultline/faultline.h>

#include <stdio.h>
#include <string.h>

static fl_status
write_one(const struct fl_options *options, const char *path)
{
    struct fl_store *store;
    fl_status status = fl_open(path, options, &store);

    if (status != FL_OK) {
        return status;
    }
    status = fl_put(store, fl_key("greeting", 8), fl_bytes("hello", 5), NULL);
    const fl_status closed = fl_close(store);

    return status != FL_OK ? status : closed;
}

static fl_status
read_one(const struct fl_options *options, const char *path, char *buf, size_t cap, size_t *len)
{
    struct fl_store *store;
    fl_status status = fl_open(path, options, &store);

    if (status != FL_OK) {
        return status;
    }
    status = fl_get(store, fl_key("greeting", 8), buf, cap, len);
    const fl_status closed = fl_close(store);

    return status != FL_OK ? status : closed;
}

int
main(int argc, char **argv)
{
    struct fl_options options;
    char value[16];
    size_t len = 0;

    if (argc != 2) {
        return 2;
    }
    fl_options_init(&options);
    options.durability_min = FL_DURABILITY_PROCESS;
    fl_status status = write_one(&options, argv[1]);

    if (status == FL_OK) {
        status = read_one(&options, argv[1], value, sizeof(value), &len);
    }
    if (status != FL_OK) {
        fprintf(stderr, "%s: %s\n", fl_status_name(status), fl_last_error());
        return 1;
    }
    if (len != 5 || memcmp(value, "hello", 5) != 0) {
        return 1;
    }
    puts("outside program works");
    return 0;
}
