/* Figures out of the text that INFO answers. */
#ifndef FL_CLIENT_CLI_FIGURES_H
#define FL_CLIENT_CLI_FIGURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number behind "name:" at a line's start. False if there is none. */
bool figures_get(const char *info, const char *name, uint64_t *out);

/* Keys of all databases: the sum of "db0:keys=N,...". */
uint64_t figures_keys(const char *info);

/* A number of bytes in four digits or so: "1.50M". Returns `out`, which has room for 16. */
char *figures_bytes(uint64_t bytes, char *out);

#endif
