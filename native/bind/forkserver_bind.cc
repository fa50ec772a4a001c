#include "bind/bind.h"
#include "sys/forkserver.h"

namespace prefork {

void InitForkserver(Napi::Env, Napi::Object) {}

}  // namespace prefork
