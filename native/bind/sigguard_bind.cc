#include "bind/args.h"
#include "bind/bind.h"
#include "sys/sigguard.h"

namespace prefork {

namespace {

Napi::Value HoldSignals(const Napi::CallbackInfo& info) {
  Args args(info);
  std::vector<int> signals = args.Ints(0, "signals");
  int timeout_ms = static_cast<int>(args.Integer(1, "timeoutMs", 0, INT32_MAX));
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::HoldSignals(signals, timeout_ms));
}

Napi::Value ReleaseSignals(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), sys::ReleaseSignals());
}

}  // namespace

void InitSigguard(Napi::Env, Napi::Object exports) {
  Export(exports, "holdSignals", HoldSignals);
  Export(exports, "releaseSignals", ReleaseSignals);
}

}  // namespace prefork
