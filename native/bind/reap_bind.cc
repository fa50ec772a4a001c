#include <uv.h>

#include <algorithm>
#include <iterator>

#include "bind/args.h"
#include "bind/bind.h"
#include "sys/children.h"
#include "sys/reap.h"

namespace prefork {

namespace {

#ifdef __linux__
constexpr double kMaxRssUnit = 1024;
#else
constexpr double kMaxRssUnit = 1;
#endif

double Milliseconds(const struct timeval& time) { return time.tv_sec * 1e3 + time.tv_usec / 1e3; }

// A result as a list of numbers, which is made much faster than an object with names; src/engine/wait-result.ts has its order.
// null: nothing has ended yet; undefined: no such child; a number: −errno.
Napi::Value ToJs(Napi::Env env, int outcome, const sys::WaitResult& result) {
  if (outcome == 0) return env.Null();
  if (outcome == -ECHILD) return env.Undefined();
  if (outcome < 0) return Napi::Number::New(env, outcome);
  const struct rusage& usage = result.usage;
  const double values[] = {
      static_cast<double>(result.pid),
      static_cast<double>(result.status),
      Milliseconds(usage.ru_utime),
      Milliseconds(usage.ru_stime),
      static_cast<double>(usage.ru_maxrss) * kMaxRssUnit,
      static_cast<double>(usage.ru_minflt),
      static_cast<double>(usage.ru_majflt),
      static_cast<double>(usage.ru_nvcsw),
      static_cast<double>(usage.ru_nivcsw),
  };
  Napi::Array list = Napi::Array::New(env, std::size(values));
  for (uint32_t i = 0; i < std::size(values); i++) list.Set(i, Napi::Number::New(env, values[i]));
  return list;
}

Napi::Value Waitpid(const Napi::CallbackInfo& info) {
  Args args(info);
  int pid = args.Int(0, "pid");
  int pidfd = args.Int(1, "pidfd");
  bool no_hang = args.Bool(2, "noHang");
  if (args.failed()) return info.Env().Undefined();
  sys::WaitResult result;
  int outcome = sys::WaitPid(pid, pidfd, no_hang, &result);
  return ToJs(info.Env(), outcome, result);
}

Napi::Value Wait3(const Napi::CallbackInfo& info) {
  Args args(info);
  bool no_hang = args.Bool(0, "noHang");
  bool any = args.Bool(1, "any");
  if (args.failed()) return info.Env().Undefined();
  sys::WaitResult result;
  int outcome = any ? sys::WaitAny(no_hang, &result) : sys::WaitOwn(no_hang, &result);
  return ToJs(info.Env(), outcome, result);
}

Napi::Value WaitStopped(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  sys::StopResult result;
  if (sys::WaitStopped(&result) != 1) return env.Null();  // ECHILD: no child, so none that stopped
  Napi::Object object = Napi::Object::New(env);
  object.Set("pid", Napi::Number::New(env, result.pid));
  object.Set("signal", Napi::Number::New(env, result.signal));
  object.Set("stopped", Napi::Boolean::New(env, result.stopped));
  return object;
}

// The processes that child_process of this thread still waits for.
void CollectLibuvChildren(uv_handle_t* handle, void* pids) {
  if (handle->type != UV_PROCESS || !uv_is_active(handle)) return;
  static_cast<std::vector<pid_t>*>(pids)->push_back(uv_process_get_pid(reinterpret_cast<uv_process_t*>(handle)));
}

Napi::Value AdoptedChildren(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::vector<pid_t> known = sys::OwnChildren();
  uv_loop_s* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  uv_walk(loop, CollectLibuvChildren, &known);
  std::vector<pid_t> children;
  int error = sys::ListChildren(&children);
  if (error < 0) return Napi::Number::New(env, error);
  std::vector<int> adopted;
  for (pid_t pid : children) {
    if (std::find(known.begin(), known.end(), pid) == known.end()) adopted.push_back(pid);
  }
  return ToArray(env, adopted);
}

Napi::Value RegisterChild(const Napi::CallbackInfo& info) {
  Args args(info);
  int64_t pid = args.Integer(0, "pid", 1, INT32_MAX);
  if (!args.failed()) sys::RegisterChild(static_cast<pid_t>(pid));
  return info.Env().Undefined();
}

}  // namespace

void InitReap(Napi::Env, Napi::Object exports) {
  Export(exports, "waitpid", Waitpid);
  Export(exports, "wait3", Wait3);
  Export(exports, "waitStopped", WaitStopped);
  Export(exports, "adoptedChildren", AdoptedChildren);
  Export(exports, "registerChild", RegisterChild);
}

}  // namespace prefork
