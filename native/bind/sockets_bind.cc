#include "bind/args.h"
#include "bind/bind.h"
#include "sys/quiesce.h"
#include "sys/sockets.h"
#include "sys/unix_listener.h"

namespace prefork {

namespace {

sys::InetSpec ReadInetSpec(Args* args, Napi::Object object, bool udp) {
  sys::InetSpec spec;
  spec.udp = udp;
  spec.address = args->AsString(args->Required(object, "address"), "address");
  spec.port = static_cast<int>(args->AsInteger(args->Required(object, "port"), "port", 0, 65535));
  spec.backlog = static_cast<int>(args->AsInteger(args->Required(object, "backlog"), "backlog", 0, INT32_MAX));
  spec.reuse_port = args->AsBool(args->Required(object, "reusePort"), "reusePort");
  spec.ipv6_only = args->AsBool(args->Required(object, "ipv6Only"), "ipv6Only");
  return spec;
}

sys::UnixSpec ReadUnixSpec(Args* args, Napi::Object object) {
  sys::UnixSpec spec;
  // A leading zero byte makes it an abstract name.
  spec.path = args->AsBytes(args->Required(object, "address"), "address", true);
  if (spec.path.find('\0', 1) != std::string::npos) args->Fail("address", "a path without zero bytes");
  spec.backlog = static_cast<int>(args->AsInteger(args->Required(object, "backlog"), "backlog", 0, INT32_MAX));
  if (auto value = args->Optional(object, "mode")) spec.mode = static_cast<mode_t>(args->AsInteger(*value, "mode", 0, 0777));
  if (auto value = args->Optional(object, "uid")) spec.uid = static_cast<uid_t>(args->AsInteger(*value, "uid", 0, UINT32_MAX - 1));
  if (auto value = args->Optional(object, "gid")) spec.gid = static_cast<gid_t>(args->AsInteger(*value, "gid", 0, UINT32_MAX - 1));
  return spec;
}

Napi::Value Listen(const Napi::CallbackInfo& info) {
  Args args(info);
  Napi::Object object = args.Object(0, "spec");
  std::string kind = args.AsString(args.Required(object, "kind"), "kind");
  int fd = -1;
  if (kind == "unix") {
    sys::UnixSpec spec = ReadUnixSpec(&args, object);
    if (!args.failed()) fd = sys::ListenUnix(spec);
  } else if (kind == "tcp" || kind == "udp") {
    sys::InetSpec spec = ReadInetSpec(&args, object, kind == "udp");
    if (!args.failed()) fd = sys::ListenInet(spec);
  } else {
    args.Fail("kind", "'tcp', 'udp' or 'unix'");
  }
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), fd);
}

const char* FamilyName(sys::SockName::Family family) {
  switch (family) {
    case sys::SockName::Family::kIpv4: return "IPv4";
    case sys::SockName::Family::kIpv6: return "IPv6";
    case sys::SockName::Family::kUnix: return "unix";
  }
  return "";
}

const char* TypeName(sys::SockName::Type type) {
  switch (type) {
    case sys::SockName::Type::kStream: return "stream";
    case sys::SockName::Type::kDgram: return "dgram";
    case sys::SockName::Type::kSeqpacket: return "seqpacket";
  }
  return "";
}

Napi::Value Sockname(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  int fd = args.Int(0, "fd");
  if (args.failed()) return env.Undefined();
  sys::SockName name;
  int error = sys::GetSockName(fd, &name);
  if (error < 0) return Napi::Number::New(env, error);
  Napi::Object object = Napi::Object::New(env);
  object.Set("family", Napi::String::New(env, FamilyName(name.family)));
  object.Set("type", Napi::String::New(env, TypeName(name.type)));
  object.Set("address", Napi::String::New(env, name.address));
  object.Set("port", Napi::Number::New(env, name.port));
  object.Set("listening", Napi::Boolean::New(env, name.listening));
  return object;
}

Napi::Value Peercred(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Args args(info);
  int fd = args.Int(0, "fd");
  if (args.failed()) return env.Undefined();
  sys::PeerCred cred;
  int error = sys::GetPeerCred(fd, &cred);
  if (error < 0) return Napi::Number::New(env, error);
  Napi::Object object = Napi::Object::New(env);
  object.Set("pid", Napi::Number::New(env, cred.pid));
  object.Set("uid", Napi::Number::New(env, cred.uid));
  object.Set("gid", Napi::Number::New(env, cred.gid));
  return object;
}

Napi::Value DropSyn(const Napi::CallbackInfo& info) {
  Args args(info);
  int fd = args.Int(0, "fd");
  if (args.failed()) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), sys::DropSyn(fd));
}

}  // namespace

void InitSockets(Napi::Env, Napi::Object exports) {
  Export(exports, "listen", Listen);
  Export(exports, "sockname", Sockname);
  Export(exports, "peercred", Peercred);
  Export(exports, "dropSyn", DropSyn);
}

}  // namespace prefork
