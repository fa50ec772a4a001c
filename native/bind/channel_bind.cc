#include <memory>

#include "bind/args.h"
#include "bind/bind.h"
#include "sys/channel.h"

namespace prefork {

namespace {

constexpr int64_t kMaxMessageBytes = 16 * 1024 * 1024;

Napi::Value ChannelPair(const Napi::CallbackInfo& info) {
  int ends[2];
  int error = sys::ChannelPair(ends);
  if (error < 0) return Napi::Number::New(info.Env(), error);
  return ToArray(info.Env(), {ends[0], ends[1]});
}

Napi::Value SendMessage(const Napi::CallbackInfo& info) {
  Args args(info);
  int fd = args.Int(0, "fd");
  if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    args.Fail("data", "a Uint8Array");
  }
  std::vector<int> fds = args.Ints(2, "fds");
  if (args.failed()) return info.Env().Undefined();
  Napi::Uint8Array data = info[1].As<Napi::Uint8Array>();
  return Napi::Number::New(info.Env(), sys::SendMessage(fd, data.Data(), data.ByteLength(), fds));
}

Napi::Value RecvMessage(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  int fd = args.Int(0, "fd");
  int64_t max_bytes = args.Integer(1, "maxBytes", 1, kMaxMessageBytes);
  int64_t timeout_ms = args.Integer(2, "timeoutMs", -1, INT32_MAX);
  if (args.failed()) return env.Undefined();
  std::unique_ptr<uint8_t[]> buffer(new uint8_t[static_cast<size_t>(max_bytes)]);
  std::vector<int> fds;
  int got = sys::ReceiveMessage(fd, buffer.get(), static_cast<size_t>(max_bytes), static_cast<int>(timeout_ms), &fds);
  if (got <= 0) return Napi::Number::New(env, got);
  Napi::Object message = Napi::Object::New(env);
  message.Set("data", Napi::Buffer<uint8_t>::Copy(env, buffer.get(), static_cast<size_t>(got)));
  message.Set("fds", ToArray(env, fds));
  return message;
}

}  // namespace

void InitChannel(Napi::Env, Napi::Object exports) {
  Export(exports, "channelPair", ChannelPair);
  Export(exports, "sendMessage", SendMessage);
  Export(exports, "recvMessage", RecvMessage);
}

}  // namespace prefork
