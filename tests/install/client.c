/* An outside program: the client library, without a server to talk to. */
#include <faultline/client.h>

#include <stdio.h>

int
main(void)
{
    struct fl_client_options options;
    struct fl_client *client;

    fl_client_options_init(&options);
    options.unix_path = "no/such/socket";
    const fl_status status = fl_client_connect(&options, &client);

    if (status != FL_IO || fl_last_error()[0] == '\0') {
        fprintf(stderr, "%s: %s\n", fl_status_name(status), fl_last_error());
        return 1;
    }
    puts("outside program works");
    return 0;
}
