/* onnxc: compiled models from C++17. Header-only, over the C ABI of onnxc.h; every generated NAME.hpp repeats it.

   What it adds: models own their memory, sizes of buffers are checked, and errors are values (onnxc::Status) that become exceptions
   only where one asks for it: m.run(image, scores).or_throw(). Works with -fno-exceptions and -fno-rtti. Nothing is allocated but an
   arena that nobody gave; nothing after construction. A model runs on one thread at a time: give each thread its own. */
#ifndef ONNXC_HPP
#define ONNXC_HPP 1

#ifndef ONNXC_H
#include "onnxc.h"
#endif

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define ONNXC_EXCEPTIONS 1
#include <stdexcept>
#endif

/* Files can be mapped. Define ONNXC_NO_FILES where they can't, though the compiler says unix. */
#if (defined(__unix__) || defined(__APPLE__)) && !defined(ONNXC_NO_FILES)
#define ONNXC_FILES 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace onnxc {

/* What came of it: a status code of onnxc.h, or one of the negative ones here. */
class [[nodiscard]] Status {
 public:
  /* A buffer has fewer elements than the input or output. */
  static constexpr std::int32_t short_buffer = -1;
  /* No memory for the arena. */
  static constexpr std::int32_t no_memory = -2;
  /* The file of weights can't be opened or mapped. */
  static constexpr std::int32_t no_file = -3;
  /* The file is no file of weights for this model. */
  static constexpr std::int32_t wrong_weights = -4;

  constexpr Status(std::int32_t code = ONNXC_OK) noexcept : code_(code) {}
  constexpr std::int32_t code() const noexcept { return code_; }
  constexpr bool ok() const noexcept { return code_ == ONNXC_OK; }
  constexpr explicit operator bool() const noexcept { return ok(); }
  friend constexpr bool operator==(Status a, Status b) noexcept { return a.code_ == b.code_; }
  friend constexpr bool operator!=(Status a, Status b) noexcept { return a.code_ != b.code_; }

  /* One line for a person. */
  const char *text() const noexcept {
    switch (code_) {
    case short_buffer: return "a buffer has fewer elements than the model's input or output";
    case no_memory: return "no memory for the arena";
    case no_file: return "the file of weights can't be opened or mapped";
    case wrong_weights: return "the file holds no weights for this model";
    default: return onnxc_status_text(code_);
    }
  }

#ifdef ONNXC_EXCEPTIONS
  /* Throws onnxc::Error unless all is well. */
  void or_throw() const;
#endif

 private:
  std::int32_t code_;
};

#ifdef ONNXC_EXCEPTIONS
/* A status that was not ok. */
class Error : public std::runtime_error {
 public:
  explicit Error(Status status) : std::runtime_error(status.text()), status_(status) {}
  Status status() const noexcept { return status_; }

 private:
  Status status_;
};

inline void Status::or_throw() const {
  if (!ok()) throw Error(*this);
}
#endif

/* The extent of a span whose length is known when the program runs. */
inline constexpr std::size_t dynamic = static_cast<std::size_t>(-1);

/* Elements in a row that somebody else owns. An array of a wrong length is an error when compiled; of what has data() and size(), and
   of a pointer with a length, the length is checked by the run. */
template <class T, std::size_t N = dynamic>
class Span {
  template <class C>
  using If = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *> &&
                              std::is_convertible_v<decltype(std::declval<C &>().size()), std::size_t>>;

 public:
  constexpr Span() noexcept = default;
  constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t M>
  constexpr Span(T (&array)[M]) noexcept : data_(array), size_(M) {
    static_assert(N == dynamic || N == M, "the array's length is not that of the model's input or output");
  }
  template <class C, class = If<C>>
  constexpr Span(C &container) noexcept : data_(container.data()), size_(container.size()) {}
  template <class C, class = If<const C>>
  constexpr Span(const C &container) noexcept : data_(container.data()), size_(container.size()) {}
  constexpr T *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }
  constexpr T *begin() const noexcept { return data_; }
  constexpr T *end() const noexcept { return data_ + size_; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

/* Memory of a wished alignment, freed at the end. Empty where there was none. */
class Arena {
 public:
  Arena() noexcept = default;
  Arena(std::size_t size, std::size_t align) noexcept
      : data_(::operator new(size ? size : 1, std::align_val_t{align}, std::nothrow)), size_(data_ ? size : 0), align_(align) {}
  Arena(Arena &&other) noexcept { swap(other); }
  Arena &operator=(Arena &&other) noexcept {
    Arena taken(std::move(other));
    swap(taken);
    return *this;
  }
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;
  ~Arena() {
    if (data_) ::operator delete(data_, std::align_val_t{align_});
  }
  void *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  void swap(Arena &other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(align_, other.align_);
  }
  void *data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t align_ = 1;
};

#ifdef ONNXC_FILES
/* A file of weights, mapped read-only: processes share its pages, and only what is used is read. */
class Weights {
 public:
  Weights() noexcept = default;
  /* Maps a file and checks that its layout is the model's. What it holds is not digested. */
  Weights(const char *path, const onnxc_descriptor &model) noexcept { status_ = map(path, model); }
  Weights(Weights &&other) noexcept { swap(other); }
  Weights &operator=(Weights &&other) noexcept {
    Weights taken(std::move(other));
    swap(taken);
    return *this;
  }
  Weights(const Weights &) = delete;
  Weights &operator=(const Weights &) = delete;
  ~Weights() {
    if (file_) ::munmap(file_, length_);
  }
  Status status() const noexcept { return status_; }
  const void *data() const noexcept { return file_ ? static_cast<const char *>(file_) + header().data_offset : nullptr; }
  std::size_t size() const noexcept { return file_ ? header().data_size : 0; }

 private:
  const onnxc_weights_header &header() const noexcept { return *static_cast<const onnxc_weights_header *>(file_); }
  Status map(const char *path, const onnxc_descriptor &model) noexcept {
    struct stat info = {};
    void *file = MAP_FAILED;
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Status::no_file;
    if (::fstat(fd, &info) == 0 && info.st_size >= ONNXC_WEIGHTS_DATA_OFFSET) {
      length_ = static_cast<std::size_t>(info.st_size);
      file = ::mmap(nullptr, length_, PROT_READ, MAP_SHARED, fd, 0);
    }
    ::close(fd);
    if (file == MAP_FAILED) return length_ == 0 ? Status::wrong_weights : Status::no_file;
    file_ = file;
    const onnxc_weights_header &h = header();
    bool fits = h.abi_version == ONNXC_ABI_VERSION && h.data_offset >= sizeof(onnxc_weights_header) && h.data_offset <= length_ &&
                h.data_size == model.weights_size && h.data_size <= length_ - h.data_offset;
    for (std::size_t i = 0; i < sizeof h.magic; i++) fits &= h.magic[i] == static_cast<std::uint8_t>(ONNXC_WEIGHTS_MAGIC[i]);
    for (std::size_t i = 0; i < sizeof h.layout_digest; i++) fits &= h.layout_digest[i] == model.layout_digest[i];
    if (fits) return Status();
    ::munmap(file_, length_);
    file_ = nullptr;
    return Status::wrong_weights;
  }
  void swap(Weights &other) noexcept {
    std::swap(file_, other.file_);
    std::swap(length_, other.length_);
    std::swap(status_, other.status_);
  }
  void *file_ = nullptr;
  std::size_t length_ = 0;
  Status status_{Status::no_file};
};
#endif

/* What all models have. T is what a generated NAME.hpp says of its model, and its class Model adds a run() with the model's own inputs and
   outputs. */
template <class T>
class BasicModel {
 public:
  /* Owns an arena; status() says whether there was memory for it. */
  BasicModel() noexcept : own_(T::arena_size, T::arena_align) {
    prepare(own_.data(), own_.size());
    if (!own_) status_ = Status::no_memory;
  }
  /* Uses memory of the caller's, aligned to arena_align. */
  BasicModel(void *arena, std::size_t size) noexcept { prepare(arena, size); }
  /* The same, of what NAME_DECLARE_ARENA declares. */
  template <std::size_t N>
  explicit BasicModel(unsigned char (&arena)[N]) noexcept {
    static_assert(N >= T::arena_size, "the arena is smaller than the model needs");
    prepare(arena, N);
  }
  BasicModel(BasicModel &&other) noexcept { take(other); }
  BasicModel &operator=(BasicModel &&other) noexcept {
    if (this != &other) take(other);
    return *this;
  }
  BasicModel(const BasicModel &) = delete;
  BasicModel &operator=(const BasicModel &) = delete;

  /* Ok, or why no run can succeed. */
  Status status() const noexcept { return status_; }
  /* Names, shapes, layers, and all else that is known of the model. */
  static const onnxc_descriptor &describe() noexcept { return *T::describe(); }
  /* The context, for what has no function here. */
  onnxc_context &context() noexcept { return ctx_; }

  /* Weights in memory of the caller's: a file's from its byte ONNXC_WEIGHTS_DATA_OFFSET on. */
  void use_weights(const void *data, std::size_t size) noexcept {
    ctx_.weights = data;
    ctx_.weights_size = size;
  }
#ifdef ONNXC_FILES
  /* Weights that others use too; they must outlive the model. */
  Status use_weights(const Weights &weights) noexcept {
    if (weights.status().ok()) use_weights(weights.data(), weights.size());
    return weights.status();
  }
  /* Maps a file of weights and keeps it. */
  Status load_weights(const char *path) noexcept {
    Weights mapped(path, describe());
    if (!mapped.status()) return mapped.status();
    weights_ = std::move(mapped);
    return use_weights(weights_);
  }
#endif
  /* Spreads loops over threads: onnxc_pool_for and a pool, for example. */
  void use_threads(onnxc_parallel_for run, void *user) noexcept {
    ctx_.parallel_for = run;
    ctx_.parallel_user = user;
  }
  /* Is told of the begin and end of each layer. */
  void trace(onnxc_trace told, void *user) noexcept {
    ctx_.trace = told;
    ctx_.trace_user = user;
  }
  /* Touches all memory, so that no run waits for it. */
  void prefault() noexcept {
    if (ctx_.arena) onnxc_prefault(&ctx_);
  }

 protected:
  /* Elements of an input or output, given the sizes that are free; -1 where one is out of its bounds. */
  static std::int64_t elements(const onnxc_port *port, const std::int64_t *dims) noexcept {
    const onnxc_descriptor &d = describe();
    std::int64_t n = 1;
    for (std::uint32_t i = 0; i < port->rank; i++) {
      const onnxc_dim *dim = onnxc_port_dim(port, i);
      std::int64_t size = dim->size;
      if (dim->symbol >= 0 && static_cast<std::uint32_t>(dim->symbol) < d.num_free_symbols) {
        const onnxc_symbol *s = onnxc_symbol_at(&d, static_cast<std::uint32_t>(dim->symbol));
        size = dims[dim->symbol];
        if (size < s->lo || size > s->hi) return -1;
      }
      n *= size;
    }
    return n;
  }
  /* Whether a buffer holds an input or output. */
  template <class E, std::size_t N>
  static Status fits(Span<E, N> buffer, [[maybe_unused]] const onnxc_port *port, [[maybe_unused]] const std::int64_t *dims) noexcept {
    std::size_t needed = N;
    if constexpr (N == dynamic) {
      const std::int64_t n = elements(port, dims);
      if (n < 0) return ONNXC_BAD_DIM;
      // Complex numbers are pairs.
      needed = static_cast<std::size_t>(n) * (port->elem_size / sizeof(E));
    }
    return buffer.size() < needed ? Status::short_buffer : ONNXC_OK;
  }
  Status call(const void *const *inputs, void *const *outputs, const std::int64_t *dims = nullptr, std::int64_t *sizes = nullptr) noexcept {
    if (!status_) return status_;
    ctx_.inputs = inputs;
    ctx_.outputs = outputs;
    ctx_.dims = dims;
    ctx_.num_dims = T::num_dims;
    ctx_.out_dims = sizes;
    ctx_.num_out_dims = sizes ? T::num_out_dims : 0;
    const std::int32_t code = T::run(&ctx_);
    // They point into the caller's frame.
    ctx_.inputs = nullptr;
    ctx_.outputs = nullptr;
    ctx_.dims = nullptr;
    ctx_.out_dims = nullptr;
    return code;
  }

 private:
  void prepare(void *arena, std::size_t size) noexcept {
    T::init(&ctx_, arena, nullptr, nullptr);
    ctx_.arena_size = size;
  }
  void take(BasicModel &other) noexcept {
    own_ = std::move(other.own_);
#ifdef ONNXC_FILES
    weights_ = std::move(other.weights_);
#endif
    ctx_ = other.ctx_;
    status_ = other.status_;
    other.ctx_.arena = nullptr;
    other.status_ = ONNXC_NULL_POINTER;
  }

  onnxc_context ctx_;
  Arena own_;
#ifdef ONNXC_FILES
  Weights weights_;
#endif
  Status status_;
};

} // namespace onnxc
#endif /* ONNXC_HPP */
