#include "bind/args.h"
#include "bind/bind.h"
#include "sys/signals.h"

namespace prefork {

namespace {

Napi::Value Kill(const Napi::CallbackInfo& info) {
  Args args(info);
  int pid = args.Int(0, "pid");
  int signal = args.Int(1, "signal");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::KillPid(pid, signal));
}

Napi::Value PidfdOpen(const Napi::CallbackInfo& info) {
  Args args(info);
  int pid = args.Int(0, "pid");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::PidfdOpen(pid));
}

Napi::Value PidfdSendSignal(const Napi::CallbackInfo& info) {
  Args args(info);
  int pidfd = args.Int(0, "pidfd");
  int signal = args.Int(1, "signal");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::PidfdSendSignal(pidfd, signal));
}

Napi::Value Sigprocmask(const Napi::CallbackInfo& info) {
  Args args(info);
  int64_t how = args.Integer(0, "how", 0, 2);
  std::vector<int> signals = args.Ints(1, "signals");
  if (args.failed()) return info.Env().Undefined();
  constexpr sys::MaskChange kChanges[] = {sys::MaskChange::kBlock, sys::MaskChange::kUnblock, sys::MaskChange::kSet};
  std::vector<int> former;
  int error = sys::ChangeSignalMask(kChanges[how], signals, &former);
  if (error < 0) return Napi::Number::New(info.Env(), error);
  return ToArray(info.Env(), former);
}

}  // namespace

void InitSignals(Napi::Env, Napi::Object exports) {
  Export(exports, "kill", Kill);
  Export(exports, "pidfdOpen", PidfdOpen);
  Export(exports, "pidfdSendSignal", PidfdSendSignal);
  Export(exports, "sigprocmask", Sigprocmask);
}

}  // namespace prefork
