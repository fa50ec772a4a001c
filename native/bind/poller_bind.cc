#include <uv.h>

#include <memory>

#include "bind/args.h"
#include "bind/bind.h"
#include "sys/fds.h"
#include "sys/poller.h"

namespace prefork {

namespace {

// A poll set watched by one handle of the event loop. It lives until close() or the end of the environment,
// whichever comes first, whether or not JavaScript still holds the object.
class Poller {
 public:
  // A poll set's descriptor, or −errno.
  static int Create(Napi::Env env, Napi::Function on_events, std::shared_ptr<Poller>* created);

  int Add(int fd, uint64_t id) { return open() ? sys::AddToPollSet(set_, fd, id) : -EBADF; }
  int Remove(int fd) { return open() ? sys::RemoveFromPollSet(set_, fd) : -EBADF; }
  void Ref() {
    if (open()) uv_ref(handle());
  }
  void Unref() {
    if (open()) uv_unref(handle());
  }
  void Close();

  explicit Poller(Napi::Env env) : env_(env) {}
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

 private:
  bool open() const { return self_ != nullptr; }
  uv_handle_t* handle() { return reinterpret_cast<uv_handle_t*>(&poll_); }
  void OnReadable();
  bool Call(const uint64_t* ids, size_t count);
  void OnClosed();

  Napi::Env env_;
  uv_poll_t poll_;
  int set_ = -1;
  Napi::FunctionReference on_events_;
  std::unique_ptr<Napi::AsyncContext> context_;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
  std::shared_ptr<Poller> self_;     // until close(): the loop's own claim
  std::shared_ptr<Poller> closing_;  // until libuv has let go of the handle
};

int Poller::Create(Napi::Env env, Napi::Function on_events, std::shared_ptr<Poller>* created) {
  int set = sys::CreatePollSet();
  if (set < 0) return set;
  uv_loop_s* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  auto poller = std::make_shared<Poller>(env);
  int error = uv_poll_init(loop, &poller->poll_, set);
  if (error < 0) {
    sys::CloseFd(set);
    return error;
  }
  poller->set_ = set;
  poller->poll_.data = poller.get();
  poller->self_ = poller;
  poller->on_events_ = Napi::Persistent(on_events);
  poller->context_ = std::make_unique<Napi::AsyncContext>(env, "prefork.Poller");
  // The handle has to be closed before the loop of a worker_thread or of a stopping process can be.
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void* data) { static_cast<Poller*>(data)->Close(); }, poller.get(),
      &poller->cleanup_);
  uv_poll_start(&poller->poll_, UV_READABLE,
                [](uv_poll_t* poll, int, int) { static_cast<Poller*>(poll->data)->OnReadable(); });
  *created = poller;
  return set;
}

void Poller::OnReadable() {
  uint64_t ids[sys::kMaxPolledIds];
  int count = sys::ReadPollSet(set_, ids);
  if (count <= 0) return;
  Napi::HandleScope scope(env_);
  std::shared_ptr<Poller> alive = self_;  // the callback may call close()
  if (Call(ids, static_cast<size_t>(count))) return;
  if (env_.IsExceptionPending()) {
    Napi::Error error = env_.GetAndClearPendingException();
    napi_fatal_exception(env_, error.Value());
  } else if (open()) {
    // The environment is going: it runs the loop a last time, in which no JavaScript can be called.
    uv_poll_stop(&poll_);
  }
}

// In terms of Node-API itself, since its C++ wrapper ends the process where JavaScript cannot run any more.
bool Poller::Call(const uint64_t* ids, size_t count) {
  napi_value list, global, number, ignored;
  napi_status status = napi_create_array_with_length(env_, count, &list);
  for (size_t i = 0; i < count && status == napi_ok; i++) {
    status = napi_create_double(env_, static_cast<double>(ids[i]), &number);
    if (status == napi_ok) status = napi_set_element(env_, list, static_cast<uint32_t>(i), number);
  }
  if (status == napi_ok) status = napi_get_global(env_, &global);
  if (status == napi_ok) {
    // With the context of an asynchronous callback, so that ticks and microtasks run after it.
    status = napi_make_callback(env_, *context_, global, on_events_.Value(), 1, &list, &ignored);
  }
  return status == napi_ok;
}

void Poller::Close() {
  if (!open()) return;
  uv_poll_stop(&poll_);
  sys::CloseFd(set_);
  set_ = -1;
  closing_ = std::move(self_);
  uv_close(handle(), [](uv_handle_t* handle) { static_cast<Poller*>(handle->data)->OnClosed(); });
}

void Poller::OnClosed() {
  std::shared_ptr<Poller> last = std::move(closing_);
  Napi::HandleScope scope(env_);
  on_events_.Reset();
  context_.reset();
  if (cleanup_ != nullptr) napi_remove_async_cleanup_hook(cleanup_);
  cleanup_ = nullptr;
}

Napi::Object ToJs(Napi::Env env, const std::shared_ptr<Poller>& poller) {
  Napi::Object object = Napi::Object::New(env);
  auto method = [&](const char* name, auto body) { object.Set(name, Napi::Function::New(env, body, name)); };
  method("add", [poller](const Napi::CallbackInfo& info) -> Napi::Value {
    Args args(info);
    int fd = args.Int(0, "fd");
    int64_t id = args.Integer(1, "id", 0, kMaxSafeInteger);
    if (args.failed()) return info.Env().Undefined();
    return Napi::Number::New(info.Env(), poller->Add(fd, static_cast<uint64_t>(id)));
  });
  method("remove", [poller](const Napi::CallbackInfo& info) -> Napi::Value {
    Args args(info);
    int fd = args.Int(0, "fd");
    if (args.failed()) return info.Env().Undefined();
    return Napi::Number::New(info.Env(), poller->Remove(fd));
  });
  method("ref", [poller](const Napi::CallbackInfo&) { poller->Ref(); });
  method("unref", [poller](const Napi::CallbackInfo&) { poller->Unref(); });
  method("close", [poller](const Napi::CallbackInfo&) { poller->Close(); });
  return object;
}

Napi::Value CreatePoller(const Napi::CallbackInfo& info) {
  Args args(info);
  Napi::Function on_events = args.Function(0, "onEvents");
  if (args.failed()) return info.Env().Undefined();
  std::shared_ptr<Poller> poller;
  int set = Poller::Create(info.Env(), on_events, &poller);
  if (set < 0) return Napi::Number::New(info.Env(), set);
  return ToJs(info.Env(), poller);
}

}  // namespace

void InitPoller(Napi::Env, Napi::Object exports) { Export(exports, "createPoller", CreatePoller); }

}  // namespace prefork
