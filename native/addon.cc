// Registration only: every function lives in native/bind, every system call in native/sys.
#include "bind/bind.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  prefork::InitForkserver(env, exports);
  return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)
