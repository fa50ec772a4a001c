#include "bind/args.h"
#include "bind/bind.h"
#include "sys/fds.h"

namespace prefork {

namespace {

Napi::Value Close(const Napi::CallbackInfo& info) {
  Args args(info);
  int fd = args.Int(0, "fd");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::CloseFd(fd));
}

Napi::Value Dup(const Napi::CallbackInfo& info) {
  Args args(info);
  int fd = args.Int(0, "fd");
  int at_least = args.Int(1, "atLeast");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::DupFd(fd, at_least));
}

Napi::Value Dup2(const Napi::CallbackInfo& info) {
  Args args(info);
  int from = args.Int(0, "from");
  int to = args.Int(1, "to");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::Dup2Fd(from, to));
}

Napi::Value ChangeCloexec(const Napi::CallbackInfo& info, bool on) {
  Args args(info);
  int fd = args.Int(0, "fd");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::SetCloexec(fd, on));
}

Napi::Value SetCloexec(const Napi::CallbackInfo& info) { return ChangeCloexec(info, true); }
Napi::Value ClearCloexec(const Napi::CallbackInfo& info) { return ChangeCloexec(info, false); }

Napi::Value Flock(const Napi::CallbackInfo& info) {
  Args args(info);
  int fd = args.Int(0, "fd");
  std::string op = args.String(1, "op");
  bool block = args.Bool(2, "block");
  sys::Lock lock = op == "ex" ? sys::Lock::kExclusive : op == "sh" ? sys::Lock::kShared : sys::Lock::kUnlock;
  if (lock == sys::Lock::kUnlock && op != "un") args.Fail("op", "'ex', 'sh' or 'un'");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::LockFd(fd, lock, block));
}

}  // namespace

void InitFds(Napi::Env, Napi::Object exports) {
  Export(exports, "close", Close);
  Export(exports, "dup", Dup);
  Export(exports, "dup2", Dup2);
  Export(exports, "setCloexec", SetCloexec);
  Export(exports, "clearCloexec", ClearCloexec);
  Export(exports, "flock", Flock);
}

}  // namespace prefork
