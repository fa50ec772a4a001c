#include "sys/forkserver.h"
