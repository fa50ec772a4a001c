#include "bind/bind.h"
#include "bind/args.h"
#include "sys/features.h"

namespace prefork {

namespace {

Napi::Value Features(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  sys::Features features = sys::DetectFeatures();
  Napi::Object object = Napi::Object::New(env);
  object.Set("pidfd", Napi::Boolean::New(env, features.pidfd));
  object.Set("waitidPidfd", Napi::Boolean::New(env, features.waitid_pidfd));
  object.Set("closeRange", Napi::Boolean::New(env, features.close_range));
  object.Set("memfd", Napi::Boolean::New(env, features.memfd));
  object.Set("platform", Napi::String::New(env, features.platform));
  object.Set("libc", Napi::String::New(env, features.libc));
  object.Set("addonVersion", Napi::String::New(env, PREFORK_VERSION));
  return object;
}

}  // namespace

void InitFeatures(Napi::Env, Napi::Object exports) { Export(exports, "features", Features); }

}  // namespace prefork
