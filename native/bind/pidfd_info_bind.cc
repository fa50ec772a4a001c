#include "bind/args.h"
#include "bind/bind.h"
#include "sys/pidfd_info.h"

namespace prefork {

namespace {

Napi::Value PidfdExitStatus(const Napi::CallbackInfo& info) {
  Args args(info);
  int pidfd = args.Int(0, "pidfd");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::PidfdExitStatus(pidfd));
}

}  // namespace

void InitPidfdInfo(Napi::Env, Napi::Object exports) { Export(exports, "pidfdExitStatus", PidfdExitStatus); }

}  // namespace prefork
