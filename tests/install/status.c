/* An outside program: the status text, which every library of Faultline has. */
#include <faultline/status.h>

#include <stdio.h>
#include <string.h>

int
main(void)
{
    if (strcmp(fl_status_name(FL_NO_SPACE), "FL_NO_SPACE") != 0 || fl_last_error()[0] != '\0') {
        return 1;
    }
    puts("outside program works");
    return 0;
}
