#include "tests/fuzz/config_targets.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "fs/fuse/mount_table.h"
#include "fs/identity/cgroup.h"
#include "fs/identity/thread_status.h"
#include "keystore/access/selector.h"
#include "keystore/broker/policy.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "mount-tools/store_lock.h"

namespace coffer::fuzz {
namespace {

std::vector<ByteVector> texts(std::initializer_list<std::string_view> all) {
  std::vector<ByteVector> seeds;
  for (const std::string_view text : all) seeds.emplace_back(text.begin(), text.end());
  return seeds;
}

std::string make_store(const std::string& name) {
  const std::string root = scratch_directory() + "/" + name;
  require(::mkdir(root.c_str(), 0700) == 0 && ::mkdir((root + "/.coffer").c_str(), 0700) == 0,
          "a store's directories can be made");
  return root;
}

/// As the kernel does it (proc(5), mountinfo).
std::string escape(std::string_view path) {
  std::string out;
  for (const char letter : path) {
    if (letter == ' ' || letter == '\t' || letter == '\n' || letter == '\\') {
      out.push_back('\\');
      for (const unsigned shift : {6U, 3U, 0U}) {
        out.push_back(static_cast<char>('0' + ((static_cast<unsigned>(letter) >> shift) & 7U)));
      }
    } else {
      out.push_back(letter);
    }
  }
  return out;
}

}  // namespace

int fuzz_store_config(const std::uint8_t* data, std::size_t size) {
  static const std::string root = make_store("store");
  static const std::string again = make_store("again");
  const std::string written = again + "/.coffer/store.toml";
  put_file(root + "/.coffer/store.toml", {data, size});
  const auto config = read_store_config(root);
  require_code(config, {Code::kUnknownVersion, Code::kCorrupt}, "store.toml");
  if (!config) return 0;
  require(!config->keystore.empty() && config->keystore[0] == '/',
          "the keystore's path is absolute");
  (void)::unlink(written.c_str());
  require(write_store_config(again, config->store, config->keystore).ok(), "it can be written");
  const auto back = read_store_config(again);
  require(back.ok() && back->store == config->store && back->keystore == config->keystore,
          "store.toml says what was written");
  return 0;
}

std::vector<ByteVector> store_config_seeds() {
  return texts(
      {"format = 1\nstore = \"00112233445566778899aabbccddeeff\"\nkeystore = "
       "\".coffer/keystore.db\"\n",
       "format = 1\nstore = '00112233445566778899AABBCCDDEEFF'\nkeystore = \"/a/b c\\u00e9.db\"\n",
       "format = 2\nstore = \"00\"\nkeystore = \"k\"\n", "format = 1", "[a]\nb = [1, {c = 2}]\n",
       "format = 1979-05-27\n"});
}

/// What the holder of a store's lock wrote of itself, as the next one reads it.
int fuzz_lock_note(const std::uint8_t* data, std::size_t size) {
  static const std::string private_dir = scratch_directory("locked");
  static const auto held = StoreLock::take(private_dir, "fuzzing", "/run/socket");
  require(held.ok(), "a lock can be taken");
  put_file(private_dir + "/lock", {data, size});
  require(StoreLock::is_noted(private_dir) == (size > 0), "a note is there if any byte is");
  const auto second = StoreLock::take(private_dir, "again", "");
  require(!second && second.error().code == Code::kBusy, "a lock that is held is held");
  const std::string control = StoreLock::holder_control(private_dir);
  if (size == 0) require(control.empty(), "no note, no control socket");
  require(held->set_control("fuzzing", "/run/again").ok() &&
              StoreLock::holder_control(private_dir) == "/run/again",
          "the holder's own note says where it can be asked");
  return 0;
}

std::vector<ByteVector> lock_note_seeds() {
  return texts(
      {R"({"host":"here","pid":7,"purpose":"mounted at /mnt","control":"/run/coffer/0.sock"})",
       R"({"host":["a",{"b":1.5e300}],"pid":null,"purpose":"\u0000\ud83d\ude00"})", "[[[[", "{}",
       "\"", ""});
}

/// /proc/TID/status: by itself, and with groups among lines of a process's own making.
int fuzz_thread_status(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(Bytes(data, size));
  if (const auto status = parse_thread_status(text)) {
    require(status->tgid > 0, "a thread belongs to a process");
    require(status->groups.size() <= text.size(), "no more groups than the text has room for");
  }
  Input input(data, size);
  std::vector<gid_t> groups;
  for (std::size_t left = input.byte() % 8; left > 0; --left)
    groups.push_back(input.number<std::uint32_t>());
  const Bytes rest = input.rest();
  // The kernel writes a newline in a name as two letters.
  std::string name(as_text(rest));
  std::erase(name, '\n');
  std::string made = "Name:\t" + name + "\nTgid:\t77\nGroups:\t";
  for (const gid_t group : groups) made += std::to_string(group) + " ";
  const auto status = parse_thread_status(made + "\nNStgid:\t1\n");
  require(status.has_value() && status->tgid == 77 && status->groups == groups,
          "a thread has the groups that the kernel says");
  return 0;
}

std::vector<ByteVector> thread_status_seeds() {
  return texts({"Name:\tcat\nTgid:\t12\nGroups:\t0 4 27 \n", "Tgid:\t1\nGroups:\n",
                "Groups:\t4294967295 4294967296\nTgid: 1\n", "Tgid:\t2\nGroups:\t\nKthread:\t1\n",
                "Tgid:\t-1\nGroups:\tx\n", "Tgid:"});
}

int fuzz_cgroups(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(Bytes(data, size));
  const auto facts = parse_cgroups(text);
  if (facts) {
    const auto require_form = [](std::string_view kind, const std::optional<std::string>& value) {
      require(!value || Selector::attested(kind, *value).has_value(), "a fact has its form");
    };
    require_form("cgroup:path:", facts->path);
    require_form("systemd:id:", facts->unit);
    require_form("slurm:job_id:", facts->job);
    require_form("slurm:step:", facts->step);
    require_form("docker:id:", facts->docker);
    require_form("k8s:pod-uid:", facts->pod);
    require_form("k8s:container-id:", facts->container);
    require(facts->job || !facts->step, "a step is of a job");
    require(facts->pod || !facts->container, "a container is of a pod");
    require(facts->like_a_container || (!facts->docker && !facts->pod), "a container is like one");
  }
  // Whatever a user makes in what was given to him, it stays his.
  std::string made(text);
  std::erase(made, '\n');
  const auto own = parse_cgroups("0::/user.slice/user-1.slice/user@1.service/" + made + "\n");
  require(own.has_value() && !own->job && !own->docker && !own->pod && !own->container &&
              (!own->unit || own->unit == "user@1.service"),
          "names of groups give nothing to who chose them");
  return 0;
}

std::vector<ByteVector> cgroups_seeds() {
  const std::string id(64, 'a');
  const std::string pod = "2c48913c_b29f_11e7_9350_020968147796";
  return texts({"9:name=systemd:/\n4:memory:/a/b\n0::/\n", "0::/system.slice/nginx.service\n",
                "0::/system.slice/docker-" + id + ".scope\n", "3:cpu:/docker/" + id + "\n",
                "0::/kubepods.slice/kubepods-pod" + pod + ".slice/crio-" + id + ".scope\n",
                "0::/kubepods/besteffort/pod2c48913c-b29f-11e7-9350-020968147796/" + id + "\n",
                "0::/kubepods-pod" + pod + ".slice:cri-containerd:" + id + "\n",
                "0::/system.slice/slurmstepd.scope/job_7/step_batch/user/task_0\n",
                "5:freezer:/slurm/uid_1/job_7/step_0\n1:name=systemd:/system.slice/a.service\n"});
}

/// A length, a mount point of that length, and a table around its line.
int fuzz_mount_table(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  std::string mountpoint = "/";
  mountpoint += as_text(input.take(input.byte()));
  std::erase(mountpoint, '\0');
  std::string before(as_text(input.take(input.byte())));
  const std::string after(as_text(input.rest()));
  {
    std::istringstream anything(before + "\n" + after);
    (void)find_mount(anything, mountpoint);
  }
  std::istringstream table(before + "\n30 1 0:57 / " + escape(mountpoint) +
                           " rw shared:1 - fuse.coffer x rw\n");
  const auto found = find_mount(table, mountpoint);
  require(found && found->device == "0:57" && found->type == "fuse.coffer",
          "a mount is found whatever its path and the lines before it");
  return 0;
}

std::vector<ByteVector> mount_table_seeds() {
  std::vector<ByteVector> seeds =
      texts({"\x0bsrv/a b\\\n\tc\x10"
             "22 1 0:20 / / r - ext4 /dev/root rw\n"});
  const std::string line = "40 22 0:57 / /srv rw shared:7 master:2 - fuse.coffer store rw";
  ByteVector second = {3, 's', 'r', 'v', static_cast<std::uint8_t>(line.size())};
  second.insert(second.end(), line.begin(), line.end());
  seeds.push_back(second);
  return seeds;
}

int fuzz_selector(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  const auto selector = Selector::parse(text);
  require_code(selector, {Code::kInvalid}, "a selector");
  if (!selector) return 0;
  require(selector->text() == text, "a selector is what was written");
  require(std::all_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) >= ' ' && c != '\x7f'; }),
          "a selector can be shown");
  require(Sources::all().cover(selector->sources()), "a selector is of known sources");
  return 0;
}

std::vector<ByteVector> selector_seeds() {
  return texts({"unix:uid:0", "unix:gid:1000", "unix:supplementary_gid:4294967294",
                "unix:uid:4294967295", "unix:uid:01", "unix:user:me",
                "unix:path:/usr/bin/python3.11", "unix:path:/a/../b", "cgroup:path:/",
                "unix:path:/\xc3\xa9/\xe2\x82\xac/\xf0\x9f\x98\x80", "container:none",
                "systemd:id:user@1000.service", "slurm:step:batch",
                "selinux:label:system_u:system_r:init_t:s0-s0:c0.c1023", "host:name:node-1.a",
                "k8s:pod-uid:2c48913c-b29f-11e7-9350-020968147796",
                "unix:sha256:" + std::string(64, 'a'), "host:machine-id:" + std::string(32, '0')});
}

int fuzz_policy_path(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text({data, size});
  const auto path = normalise_path(text);
  require_code(path, {Code::kInvalid}, "a path");
  if (!path) return 0;
  require(!path->empty() && path->front() == '/' && path->find("//") == std::string::npos &&
              (*path == "/" || path->back() != '/'),
          "a normal path has no slash to spare");
  const auto again = normalise_path(*path);
  require(again.ok() && *again == *path, "a normal path is normal");
  return 0;
}

std::vector<ByteVector> policy_path_seeds() {
  return texts({"", "/", "//a///b/", "a/./b", "/..", "/...", "/models/llama"});
}

int fuzz_values(const std::uint8_t* data, std::size_t size) {
  const std::string text(as_text({data, size}));
  const auto duration = parse_duration(text);
  require_code(duration, {Code::kInvalid}, "a duration");
  if (duration) {
    const auto again = parse_duration(format_duration(*duration));
    require(again.ok() && *again == *duration && *duration >= 0, "a duration is what is shown");
  }
  const auto chunk = parse_chunk_size(text);
  require_code(chunk, {Code::kInvalid}, "a chunk size");
  require(!chunk || (*chunk >= 12 && *chunk <= 20), "a chunk size in range");
  require_code(parse_time(text), {Code::kInvalid}, "a time");
  return 0;
}

std::vector<ByteVector> values_seeds() {
  return texts({"90s", "15m", "0", "2w", "9223372036854775807w", "4k", "1M", "65536", "2026-12-31",
                "2026-12-31T18:00:00Z", "99999999999-1-1"});
}

}  // namespace coffer::fuzz
