#include <sys/resource.h>

#include "bind/bind.h"
#include "bind/spawn_spec.h"

namespace prefork {

namespace {

struct NamedResource {
  const char* name;
  int resource;
};

constexpr NamedResource kResources[] = {
    {"core", static_cast<int>(RLIMIT_CORE)},       {"cpu", static_cast<int>(RLIMIT_CPU)},
    {"data", static_cast<int>(RLIMIT_DATA)},       {"fsize", static_cast<int>(RLIMIT_FSIZE)},
    {"nofile", static_cast<int>(RLIMIT_NOFILE)},   {"stack", static_cast<int>(RLIMIT_STACK)},
    {"as", static_cast<int>(RLIMIT_AS)},           {"rss", static_cast<int>(RLIMIT_RSS)},
    {"nproc", static_cast<int>(RLIMIT_NPROC)},     {"memlock", static_cast<int>(RLIMIT_MEMLOCK)},
#ifdef __linux__
    {"locks", static_cast<int>(RLIMIT_LOCKS)},     {"sigpending", static_cast<int>(RLIMIT_SIGPENDING)},
    {"msgqueue", static_cast<int>(RLIMIT_MSGQUEUE)}, {"nice", static_cast<int>(RLIMIT_NICE)},
    {"rtprio", static_cast<int>(RLIMIT_RTPRIO)},   {"rttime", static_cast<int>(RLIMIT_RTTIME)},
#endif
};

rlim_t ReadLimit(Args* args, Napi::Value value, const char* name) {
  int64_t number = args->AsInteger(value, name, -1, kMaxSafeInteger);
  return number < 0 ? RLIM_INFINITY : static_cast<rlim_t>(number);
}

std::vector<sys::ResourceLimit> ReadLimits(Args* args, Napi::Object object) {
  std::vector<sys::ResourceLimit> limits;
  if (args->failed()) return limits;
  Napi::Array names = object.GetPropertyNames();
  for (uint32_t i = 0; !args->failed() && i < names.Length(); i++) {
    std::string name = names.Get(i).ToString();
    const NamedResource* found = nullptr;
    for (const NamedResource& resource : kResources) {
      if (name == resource.name) found = &resource;
    }
    if (found == nullptr) {
      args->Fail(("rlimits." + name).c_str(), "the name of a resource of this platform");
      break;
    }
    Napi::Array pair = args->AsArray(object.Get(name), found->name);
    if (!args->failed() && pair.Length() != 2) args->Fail(found->name, "a pair [soft, hard]");
    if (args->failed()) break;
    struct rlimit limit = {ReadLimit(args, pair.Get(0u), found->name), ReadLimit(args, pair.Get(1u), found->name)};
    limits.push_back({found->resource, limit});
  }
  return limits;
}

bool ReadFlag(Args* args, Napi::Object object, const char* name) {
  std::optional<Napi::Value> value = args->Optional(object, name);
  return value && args->AsBool(*value, name);
}

std::optional<uint32_t> ReadId(Args* args, Napi::Object object, const char* name) {
  std::optional<Napi::Value> value = args->Optional(object, name);
  if (!value) return std::nullopt;
  return static_cast<uint32_t>(args->AsInteger(*value, name, 0, UINT32_MAX - 1));
}

void ReadCredentials(Args* args, Napi::Object object, sys::SpawnSpec* spec) {
  spec->uid = ReadId(args, object, "uid");
  spec->gid = ReadId(args, object, "gid");
  if (std::optional<Napi::Value> value = args->Optional(object, "groups")) {
    Napi::Array array = args->AsArray(*value, "groups");
    spec->groups.emplace();
    for (uint32_t i = 0; !args->failed() && i < array.Length(); i++) {
      spec->groups->push_back(static_cast<gid_t>(args->AsInteger(array.Get(i), "groups", 0, UINT32_MAX - 1)));
    }
  }
}

Napi::Value Spawn(const Napi::CallbackInfo& info) {
  Args args(info);
  sys::SpawnSpec spec = ReadSpawnSpec(&args, args.Object(0, "spec"));
  if (args.failed()) return info.Env().Undefined();
  return ToJs(info.Env(), sys::Spawn(spec));
}

}  // namespace

sys::SpawnSpec ReadSpawnSpec(Args* args, Napi::Object object) {
  sys::SpawnSpec spec;
  spec.file = args->AsString(args->Required(object, "file"), "file");
  spec.args = args->AsStrings(args->Required(object, "args"), "args");
  spec.env = args->AsStrings(args->Required(object, "env"), "env");
  spec.fds = args->AsIntPairs(args->Required(object, "fds"), "fds");
  if (auto value = args->Optional(object, "cwd")) spec.cwd = args->AsString(*value, "cwd");
  spec.setsid = ReadFlag(args, object, "setsid");
  spec.setpgid = ReadFlag(args, object, "setpgid");
  spec.no_new_privs = ReadFlag(args, object, "noNewPrivs");
  spec.ignore_sigpipe = ReadFlag(args, object, "ignoreSigpipe");
  if (auto value = args->Optional(object, "umask")) {
    spec.umask = static_cast<mode_t>(args->AsInteger(*value, "umask", 0, 0777));
  }
  if (auto value = args->Optional(object, "rlimits")) spec.limits = ReadLimits(args, args->AsObject(*value, "rlimits"));
  if (auto value = args->Optional(object, "deathSignal")) {
    spec.death_signal = static_cast<int>(args->AsInteger(*value, "deathSignal", 0, 64));
  }
  ReadCredentials(args, object, &spec);
  return spec;
}

Napi::Value ToJs(Napi::Env env, const sys::SpawnResult& result) {
  Napi::Object object = Napi::Object::New(env);
  if (result.error < 0) {
    object.Set("errno", Napi::Number::New(env, result.error));
    object.Set("step", Napi::String::New(env, sys::StepName(result.step)));
  } else {
    object.Set("pid", Napi::Number::New(env, result.pid));
    object.Set("pidfd", Napi::Number::New(env, result.pidfd));
  }
  return object;
}

void InitSpawn(Napi::Env, Napi::Object exports) { Export(exports, "spawn", Spawn); }

}  // namespace prefork
