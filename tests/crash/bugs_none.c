#include "tests/crash/bugs.h"

#include <stddef.h>

const struct bug bugs[] = {{NULL, NULL, NULL}};
