#include <dlfcn.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <string>
#include <vector>

#include "bind/args.h"
#include "bind/bind.h"
#include "sys/fork.h"
#include "sys/forkall.h"
#include "sys/forkserver.h"
#include "sys/math_random.h"
#include "sys/private_fds.h"

namespace prefork {

namespace {

constexpr int kAnySleep = 1;

sys::ForkallFailure last_failure;

// With every thread held. uv_loop_fork forgets which async handles had been sent to but not yet called.
int ForkLoop(void* argument) {
  uv_loop_t* loop = static_cast<uv_loop_t*>(argument);
  std::vector<uv_async_t*> pending;
  uv_walk(
      loop,
      [](uv_handle_t* handle, void* list) {
        if (handle->type != UV_ASYNC) return;
        uv_async_t* async = reinterpret_cast<uv_async_t*>(handle);
        if (async->pending != 0) static_cast<std::vector<uv_async_t*>*>(list)->push_back(async);
      },
      &pending);
  // Not among those: it is internal.
  if (loop->wq_async.pending != 0) pending.push_back(&loop->wq_async);
  int error = uv_loop_fork(loop);
  if (error < 0) return error;
  for (uv_async_t* async : pending) uv_async_send(async);
  return 0;
}

// What every fork of a Node process needs. false: this libuv is laid out otherwise.
bool NodeOptions(Napi::Env env, sys::ForkallOptions* options) {
  uv_loop_t* loop;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return false;
  const int* lock = sys::FindSignalLockPipe();
  if (lock == nullptr) return false;
  options->loop_fd = uv_backend_fd(loop);
  options->private_pipes = {lock[0], lock[1]};
  options->host_code = reinterpret_cast<const void*>(napi_get_uv_event_loop);
  options->in_child = ForkLoop;
  options->argument = loop;
  return true;
}

// (flags, deathSignal): 0 in the child, its pid in the parent, −errno.
Napi::Value Fork(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  int64_t flags = args.Integer(0, "flags", 0, kAnySleep);
  int64_t death_signal = args.Integer(1, "deathSignal", 0, 64);
  if (args.failed()) return env.Undefined();
  sys::ForkallOptions options;
  options.death_signal = static_cast<int>(death_signal);
  options.any_sleep = (flags & kAnySleep) != 0;
  last_failure = sys::ForkallFailure();
  if (!NodeOptions(env, &options)) return Napi::Number::New(env, -ENOTSUP);
  return Napi::Number::New(env, sys::Forkall(options, &last_failure));
}

// (channel, flags, deathSignal): in each child what was sent for it; in the server 0 or −errno.
Napi::Value ServeForks(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  int channel = args.Int(0, "channel");
  int64_t flags = args.Integer(1, "flags", 0, kAnySleep);
  int64_t death_signal = args.Integer(2, "deathSignal", 0, 64);
  if (args.failed()) return env.Undefined();
  sys::ForkallOptions options;
  options.as_sibling = true;
  options.any_sleep = (flags & kAnySleep) != 0;
  options.death_signal = static_cast<int>(death_signal);
  if (!NodeOptions(env, &options)) return Napi::Number::New(env, -ENOTSUP);
  sys::ForkCommand command;
  int outcome = sys::ServeForks(channel, options, &command);
  if (outcome != sys::kServedChild) return Napi::Number::New(env, outcome);
  Napi::Object message = Napi::Object::New(env);
  message.Set("data", Napi::Buffer<uint8_t>::Copy(env, command.data.data(), command.data.size()));
  message.Set("fds", ToArray(env, command.fds));
  return message;
}

Napi::Value ForkFailure(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  result["step"] = sys::ForkallStepName(last_failure.step);
  result["tid"] = static_cast<double>(last_failure.tid);
  result["thread"] = static_cast<const char*>(last_failure.name);
  result["syscall"] = static_cast<double>(last_failure.syscall);
  return result;
}

Napi::Value ForkSupport(const Napi::CallbackInfo& info) {
  const char* refusal = sys::ForkallRefusal();
#ifdef __linux__
  if (refusal == nullptr && sys::FindSignalLockPipe() == nullptr) refusal = "libuv's signal lock was not found";
#endif
  Napi::Object result = Napi::Object::New(info.Env());
  result["ok"] = refusal == nullptr;
  result["reason"] = refusal == nullptr ? info.Env().Null() : Napi::Value(Napi::String::New(info.Env(), refusal));
  return result;
}

Napi::Value ExitNow(const Napi::CallbackInfo& info) {
  Args args(info);
  int64_t code = args.Integer(0, "code", 0, 255);
  if (args.failed()) return info.Env().Undefined();
  sys::ExitNow(static_cast<int>(code));
  return info.Env().Undefined();
}

// (random, drawn, seed): whether a context's Math.random now goes on from `seed`, 16 bytes.
Napi::Value ReseedMathRandom(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsFunction() || !info[1].IsNumber() || !info[2].IsTypedArray() ||
      info[2].As<Napi::TypedArray>().ByteLength() != 16) {
    Napi::TypeError::New(env, "a function, a number and 16 bytes").ThrowAsJavaScriptException();
    return env.Undefined();
  }
#ifdef __linux__
  Napi::TypedArray bytes = info[2].As<Napi::TypedArray>();
  const char* seed = static_cast<const char*>(bytes.ArrayBuffer().Data()) + bytes.ByteOffset();
  uint64_t state[2];
  memcpy(state, seed, sizeof(state));
  double drawn = info[1].As<Napi::Number>().DoubleValue();
  sys::MathRandom random;
  if ((state[0] | state[1]) == 0 || !random.Find(static_cast<napi_value>(info[0]), drawn)) {
    return Napi::Boolean::New(env, false);
  }
  random.Reseed(state);
  return Napi::Boolean::New(env, true);
#else
  return Napi::Boolean::New(env, false);
#endif
}

Napi::Value LearnHotPages(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), sys::LearnHotPages());
}

// V8 gives the young generation's memory back only here, and Node-API has no call for it: looked up by the names that V8's own
// headers compile to, as an addon without Node-API would be linked to them.
Napi::Value ReduceHeap(const Napi::CallbackInfo& info) {
  using GetCurrent = void* (*)();
  using LowMemory = void (*)(void* isolate);
  auto get_current = reinterpret_cast<GetCurrent>(dlsym(RTLD_DEFAULT, "_ZN2v87Isolate10GetCurrentEv"));
  auto low_memory = reinterpret_cast<LowMemory>(dlsym(RTLD_DEFAULT, "_ZN2v87Isolate21LowMemoryNotificationEv"));
  void* isolate = get_current != nullptr && low_memory != nullptr ? get_current() : nullptr;
  if (isolate != nullptr) low_memory(isolate);
  return Napi::Boolean::New(info.Env(), isolate != nullptr);
}

// process.pid is a copy.
Napi::Value Getpid(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), getpid()); }

}  // namespace

void InitForkserver(Napi::Env, Napi::Object exports) {
  Export(exports, "exitNow", ExitNow);
  Export(exports, "fork", Fork);
  Export(exports, "forkFailure", ForkFailure);
  Export(exports, "forkSupport", ForkSupport);
  Export(exports, "getpid", Getpid);
  Export(exports, "learnHotPages", LearnHotPages);
  Export(exports, "reduceHeap", ReduceHeap);
  Export(exports, "reseedMathRandom", ReseedMathRandom);
  Export(exports, "serveForks", ServeForks);
}

}  // namespace prefork
