/* An outside program with both libraries: a failure of either is what fl_last_error() tells of. */
#include <faultline/client.h>
#include <faultline/faultline.h>

#include <stdio.h>
#include <string.h>

int
main(void)
{
    struct fl_client_options client_options;
    struct fl_options store_options;
    struct fl_client *client;
    struct fl_store *store;

    fl_client_options_init(&client_options);
    client_options.unix_path = "no/such/socket";
    if (fl_client_connect(&client_options, &client) == FL_OK ||
        strstr(fl_last_error(), "no/such/socket") == NULL) {
        fprintf(stderr, "client: %s\n", fl_last_error());
        return 1;
    }
    fl_options_init(&store_options);
    if (fl_open("no/such/store", &store_options, &store) == FL_OK ||
        strstr(fl_last_error(), "no/such/store") == NULL) {
        fprintf(stderr, "store: %s\n", fl_last_error());
        return 1;
    }
    puts("outside program works");
    return 0;
}
