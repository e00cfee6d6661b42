#include "storage/index/index.h"
