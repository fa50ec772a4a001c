// Registration only: every function lives in native/bind, every system call in native/sys.
#include "bind/bind.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  prefork::InitChannel(env, exports);
  prefork::InitDaemon(env, exports);
  prefork::InitFds(env, exports);
  prefork::InitFeatures(env, exports);
  prefork::InitForkserver(env, exports);
  prefork::InitIdle(env, exports);
  prefork::InitNotify(env, exports);
  prefork::InitPidfdInfo(env, exports);
  prefork::InitPoller(env, exports);
  prefork::InitReap(env, exports);
  prefork::InitShm(env, exports);
  prefork::InitSigguard(env, exports);
  prefork::InitSignals(env, exports);
  prefork::InitSockets(env, exports);
  prefork::InitSpawn(env, exports);
  return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)
