#include <errno.h>

#include "bind/args.h"
#include "bind/bind.h"
#include "sys/shm.h"

namespace prefork {

namespace {

Napi::Value Memfd(const Napi::CallbackInfo& info) {
  Args args(info);
  std::string name = args.String(0, "name");
  int64_t bytes = args.Integer(1, "bytes", 0, kMaxSafeInteger);
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::CreateMemfd(name.c_str(), bytes));
}

unsigned SealNamed(const std::string& name) {
  if (name == "seal") return sys::kSealSeal;
  if (name == "shrink") return sys::kSealShrink;
  if (name == "grow") return sys::kSealGrow;
  if (name == "write") return sys::kSealWrite;
  return 0;
}

Napi::Value AddSeals(const Napi::CallbackInfo& info) {
  Args args(info);
  int fd = args.Int(0, "fd");
  unsigned seals = 0;
  for (const std::string& name : args.Strings(1, "seals")) {
    unsigned seal = SealNamed(name);
    if (seal == 0) args.Fail("seals", "any of 'seal', 'shrink', 'grow' and 'write'");
    seals |= seal;
  }
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::AddSeals(fd, seals));
}

Napi::Value Mmap(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  int fd = args.Int(0, "fd");
  int64_t offset = args.Integer(1, "offset", 0, kMaxSafeInteger);
  int64_t bytes = args.Integer(2, "bytes", 1, INT32_MAX);
  bool writable = args.Bool(3, "writable");
  if (args.failed()) return env.Undefined();
  void* address = nullptr;
  int error = sys::MapShared(fd, offset, static_cast<size_t>(bytes), writable, &address);
  if (error < 0) return Napi::Number::New(env, error);

  napi_finalize unmap = [](napi_env, void* data, void* hint) { sys::Unmap(data, reinterpret_cast<size_t>(hint)); };
  napi_value buffer;
  napi_status status = napi_create_external_arraybuffer(env, address, static_cast<size_t>(bytes), unmap,
                                                        reinterpret_cast<void*>(static_cast<size_t>(bytes)), &buffer);
  if (status == napi_ok) return Napi::Value(env, buffer);
  sys::Unmap(address, static_cast<size_t>(bytes));
  return Napi::Number::New(env, -ENOTSUP);  // a runtime whose heap is caged, such as Electron
}

}  // namespace

void InitShm(Napi::Env, Napi::Object exports) {
  Export(exports, "memfd", Memfd);
  Export(exports, "addSeals", AddSeals);
  Export(exports, "mmap", Mmap);
}

}  // namespace prefork
