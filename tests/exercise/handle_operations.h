#pragma once

#include "tests/exercise/twin.h"

namespace coffer::exercise {

/// Files that stay open over operations, each a descriptor on either side.
class Handles {
 public:
  explicit Handles(Twin& twin) : twin_(twin) {}
  ~Handles();
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  /// Opens one more, or does something with one of those that are open.
  void operate();
  void close_all();

 private:
  struct Handle {
    std::array<int, 2> fd{};
    std::string name;  ///< the path it was opened by, and what number it has
    int flags = 0;
  };

  void open();
  void open_nameless();
  void keep(const std::string& what, int flags, const std::function<int(Side)>& call);
  void close(std::size_t index);
  void read(const Handle& handle);
  void write(const Handle& handle);
  void direct(const Handle& handle);
  void map(const Handle& handle);
  void cut(const Handle& handle);
  void allocate(const Handle& handle);
  void seek(const Handle& handle);
  void sync(const Handle& handle);
  void copy(const Handle& from, const Handle& to);
  void compare(const Handle& handle);

  [[nodiscard]] off_t size_of(const Handle& handle) const;
  off_t random_offset(const Handle& handle);
  std::size_t random_length();
  std::optional<Outcome> both(const Handle& handle, const std::string& what,
                              const std::function<Outcome(int fd)>& call);

  Twin& twin_;
  std::vector<Handle> open_;
  std::uint64_t opened_ = 0;
};

}  // namespace coffer::exercise
