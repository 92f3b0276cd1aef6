// One workload on one file or directory, as a program would do it, timed from inside: what starting
// a process costs is not in the figure.
//
//   io_load WORKLOAD PATH [SIZE]     prints "SECONDS UNITS": bytes, or files for the small-*
//   workloads
//
// SIZE: bytes of the file to write, accesses of random-*, files of small-*.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kBlock = std::size_t{1} << 20;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kNoise = 16 * kBlock;

[[noreturn]] void fail(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

int open_file(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) fail(path);
  return fd;
}

std::size_t size_of(int fd) {
  struct stat found {};
  if (::fstat(fd, &found) != 0) fail("fstat");
  return static_cast<std::size_t>(found.st_size);
}

/// Aligned for O_DIRECT; never freed.
std::uint8_t* new_buffer(std::size_t size) {
  void* buffer = std::aligned_alloc(kPage, size);
  if (buffer == nullptr) fail("memory");
  std::memset(buffer, 1, size);
  return static_cast<std::uint8_t*>(buffer);
}

void read_range(int fd, std::size_t from, std::size_t to) {
  std::uint8_t* const buffer = new_buffer(kBlock);
  while (from < to) {
    const ssize_t got = ::pread(fd, buffer, std::min(kBlock, to - from), static_cast<off_t>(from));
    if (got <= 0) fail("pread");
    from += static_cast<std::size_t>(got);
  }
}

/// Bytes that do not compress, the same each time.
const std::uint8_t* noise() {
  static const std::vector<std::uint64_t> words = [] {
    std::mt19937_64 random(1);
    std::vector<std::uint64_t> made(kNoise / sizeof(std::uint64_t));
    for (std::uint64_t& word : made) word = random();
    return made;
  }();
  return reinterpret_cast<const std::uint8_t*>(words.data());
}

std::uint64_t write_blocks(const std::string& path, std::size_t size, int flags) {
  const int fd = open_file(path, O_WRONLY | flags);
  for (std::size_t at = 0; at < size; at += kBlock) {
    const std::size_t length = std::min(kBlock, size - at);
    if (::write(fd, noise() + at % kNoise, length) != static_cast<ssize_t>(length)) fail("write");
  }
  if (::fsync(fd) != 0) fail("fsync");
  if (::close(fd) != 0) fail("close");
  return size;
}

std::uint64_t read_whole(const std::string& path, int flags) {
  const int fd = open_file(path, O_RDONLY | flags);
  const std::size_t size = size_of(fd);
  read_range(fd, 0, size);
  return size;
}

const std::uint8_t* map_whole(const std::string& path, int flags, std::size_t& size) {
  const int fd = open_file(path, O_RDONLY);
  size = size_of(fd);
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED | flags, fd, 0);
  if (mapped == MAP_FAILED) fail("mmap");
  return static_cast<const std::uint8_t*>(mapped);
}

volatile std::uint8_t touched;

std::uint64_t touch_pages(const std::string& path, int flags) {
  std::size_t size = 0;
  const std::uint8_t* const mapped = map_whole(path, flags, size);
  for (std::size_t at = 0; at < size; at += kPage) touched = mapped[at];
  return size;
}

/// Copies what is mapped into buffers of their own, as safetensors' loaders do.
std::uint64_t load_tensors(const std::string& path) {
  std::size_t size = 0;
  const std::uint8_t* const mapped = map_whole(path, 0, size);
  constexpr std::size_t kSizes[] = {std::size_t{33} << 20, 8192, std::size_t{11} << 20, 8192,
                                    std::size_t{4} << 20};
  std::size_t at = 0;
  for (std::size_t i = 0; at < size; ++i) {
    const std::size_t length = std::min(kSizes[i % std::size(kSizes)], size - at);
    std::vector<std::uint8_t> tensor(mapped + at, mapped + at + length);
    touched = tensor[length / 2];
    at += length;
  }
  return size;
}

std::uint64_t random_pages(const std::string& path, std::size_t accesses, bool by_mmap) {
  std::mt19937_64 random(7);
  std::size_t size = 0;
  const std::uint8_t* mapped = nullptr;
  int fd = -1;
  if (by_mmap) {
    mapped = map_whole(path, 0, size);
  } else {
    fd = open_file(path, O_RDONLY);
    size = size_of(fd);
  }
  std::uint8_t buffer[kPage];
  for (std::size_t i = 0; i < accesses; ++i) {
    const std::size_t at = random() % (size / kPage) * kPage;
    if (by_mmap) {
      touched = mapped[at];
    } else if (::pread(fd, buffer, kPage, static_cast<off_t>(at)) != static_cast<ssize_t>(kPage)) {
      fail("pread");
    }
  }
  return accesses * kPage;
}

constexpr std::size_t kReaders = 4;

std::uint64_t read_by_threads(const std::string& path) {
  const int fd = open_file(path, O_RDONLY);
  const std::size_t size = size_of(fd);
  std::vector<std::thread> readers;
  for (std::size_t i = 0; i < kReaders; ++i) {
    readers.emplace_back([=] { read_range(fd, size * i / kReaders, size * (i + 1) / kReaders); });
  }
  for (std::thread& reader : readers) reader.join();
  return size;
}

std::uint64_t read_by_processes(const std::string& path) {
  const std::size_t size = std::filesystem::file_size(path);
  std::vector<pid_t> readers;
  for (std::size_t i = 0; i < kReaders; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      read_range(open_file(path, O_RDONLY), size * i / kReaders, size * (i + 1) / kReaders);
      ::_exit(0);
    }
    readers.push_back(pid);
  }
  for (const pid_t pid : readers) {
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid || status != 0) fail("a reader");
  }
  return size;
}

/// 1,000 in a directory, 1,000 bytes each.
std::string small_file(const std::string& top, std::size_t index) {
  return top + "/d" + std::to_string(index / 1000) + "/f" + std::to_string(index);
}

std::uint64_t create_small(const std::string& top, std::size_t count) {
  const std::vector<char> data(1000, 'x');
  std::filesystem::create_directories(top);
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 1000 == 0) std::filesystem::create_directory(top + "/d" + std::to_string(i / 1000));
    const int fd = open_file(small_file(top, i), O_WRONLY | O_CREAT | O_EXCL);
    if (::write(fd, data.data(), data.size()) != static_cast<ssize_t>(data.size())) fail("write");
    if (::close(fd) != 0) fail("close");
  }
  return count;
}

std::uint64_t read_small(const std::string& top, std::size_t count) {
  std::vector<char> buffer(4096);
  for (std::size_t i = 0; i < count; ++i) {
    const int fd = open_file(small_file(top, i), O_RDONLY);
    if (::read(fd, buffer.data(), buffer.size()) != 1000) fail("read");
    ::close(fd);
  }
  return count;
}

std::uint64_t list_small(const std::string& top, std::size_t /*count*/) {
  std::uint64_t seen = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) {
    struct stat found {};
    if (::lstat(entry.path().c_str(), &found) != 0) fail(entry.path());
    ++seen;
  }
  return seen;
}

std::uint64_t rename_small(const std::string& top, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::string from = small_file(top, i);
    if (::rename(from.c_str(), (from + "~").c_str()) != 0) fail(from);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::string to = small_file(top, i);
    if (::rename((to + "~").c_str(), to.c_str()) != 0) fail(to);
  }
  return 2 * count;
}

std::uint64_t unlink_small(const std::string& top, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (::unlink(small_file(top, i).c_str()) != 0) fail(small_file(top, i));
  }
  std::filesystem::remove_all(top);
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("io_load WORKLOAD PATH [SIZE]\n", stderr);
    return 2;
  }
  const std::string path = argv[2];
  const std::size_t size = argc > 3 ? std::stoull(argv[3]) : 0;
  const std::map<std::string, std::function<std::uint64_t()>> workloads = {
      {"write", [&] { return write_blocks(path, size, O_CREAT | O_TRUNC); }},
      {"overwrite", [&] { return write_blocks(path, size, 0); }},
      {"read", [&] { return read_whole(path, 0); }},
      {"direct", [&] { return read_whole(path, O_DIRECT); }},
      {"mmap", [&] { return touch_pages(path, 0); }},
      {"populate", [&] { return touch_pages(path, MAP_POPULATE); }},
      {"tensors", [&] { return load_tensors(path); }},
      {"random-mmap", [&] { return random_pages(path, size, true); }},
      {"random-pread", [&] { return random_pages(path, size, false); }},
      {"threads", [&] { return read_by_threads(path); }},
      {"processes", [&] { return read_by_processes(path); }},
      {"small-create", [&] { return create_small(path, size); }},
      {"small-read", [&] { return read_small(path, size); }},
      {"small-list", [&] { return list_small(path, size); }},
      {"small-rename", [&] { return rename_small(path, size); }},
      {"small-unlink", [&] { return unlink_small(path, size); }},
  };
  const auto workload = workloads.find(argv[1]);
  if (workload == workloads.end()) {
    std::fprintf(stderr, "no workload '%s'\n", argv[1]);
    return 2;
  }
  (void)noise();  // made before the clock runs
  const auto begin = std::chrono::steady_clock::now();
  const std::uint64_t units = workload->second();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%.6f %llu\n", took.count(), static_cast<unsigned long long>(units));
  return 0;
}
