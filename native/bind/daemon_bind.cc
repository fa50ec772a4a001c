#include "bind/bind.h"
#include "bind/spawn_spec.h"
#include "sys/daemon.h"

namespace prefork {

namespace {

// The descriptors for 0, 1 and 2 join the others; −1 stays unnamed, which makes it /dev/null.
void ReadStdio(Args* args, Napi::Object object, sys::SpawnSpec* spec) {
  std::vector<int> stdio = args->AsInts(args->Required(object, "stdio"), "stdio");
  if (!args->failed() && stdio.size() != 3) args->Fail("stdio", "three descriptors");
  for (int target = 0; !args->failed() && target < 3; target++) {
    if (stdio[target] >= 0) spec->fds.emplace_back(stdio[target], target);
  }
}

Napi::Value Daemonize(const Napi::CallbackInfo& info) {
  Args args(info);
  Napi::Object object = args.Object(0, "spec");
  sys::SpawnSpec spec = ReadSpawnSpec(&args, object);
  ReadStdio(&args, object, &spec);
  if (args.failed()) return info.Env().Undefined();
  return ToJs(info.Env(), sys::SpawnDaemon(spec));
}

Napi::Value Execve(const Napi::CallbackInfo& info) {
  Args args(info);
  std::string file = args.String(0, "file");
  std::vector<std::string> argv = args.Strings(1, "args");
  std::vector<std::string> env = args.Strings(2, "env");
  std::vector<int> fds = args.Ints(3, "fds");
  std::vector<int> blocked = args.Ints(4, "blocked");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::ReplaceProcess(file, argv, env, fds, blocked));
}

Napi::Value Setsid(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), sys::NewSession()); }

Napi::Value PrctlSubreaper(const Napi::CallbackInfo& info) {
  Args args(info);
  bool on = args.Bool(0, "on");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::SetSubreaper(on));
}

}  // namespace

void InitDaemon(Napi::Env, Napi::Object exports) {
  Export(exports, "daemonize", Daemonize);
  Export(exports, "execve", Execve);
  Export(exports, "setsid", Setsid);
  Export(exports, "prctlSubreaper", PrctlSubreaper);
}

}  // namespace prefork
