#include "bind/args.h"
#include "bind/bind.h"
#include "sys/notify.h"

namespace prefork {

namespace {

Napi::Value SendUnixDatagram(const Napi::CallbackInfo& info) {
  Args args(info);
  // A leading zero byte makes it an abstract name.
  std::string path = args.AsBytes(info[0], "path", true);
  if (path.find('\0', 1) != std::string::npos) args.Fail("path", "a path without zero bytes");
  std::string data = args.AsBytes(info[1], "data", true);
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::SendUnixDatagram(path, data.data(), data.size()));
}

}  // namespace

void InitNotify(Napi::Env, Napi::Object exports) { Export(exports, "sendUnixDatagram", SendUnixDatagram); }

}  // namespace prefork
