// Each call to the backing fails in turn, in every change of names: whoever called hears of it, and
// the tree is as before or as after, in this mount and in the next.

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "tests/support/fs_syscalls.h"
#include "tests/support/store_fixture.h"

namespace coffer {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using ::testing::IsEmpty;

/// One change, of names in the directory `dir`.
struct Change {
  const char* name;
  std::function<void(const PathUser&, const std::string& dir)> prepare;
  std::function<Result<void>(const PathUser&, const std::string& dir)> make;
};

const std::string kLong(250, 'n');
const std::string kLonger(251, 'm');
const std::string kTarget(4000, 't');

std::vector<Change> changes() {
  const auto nothing = [](const PathUser&, const std::string&) {};
  const auto file = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) {
      must_be(user.put(dir + name, "content of " + name.substr(0, 10)));
    };
  };
  const auto each = [](auto... steps) {
    return [=](const PathUser& user, const std::string& dir) { (steps(user, dir), ...); };
  };
  const auto directory = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) {
      must_be(user.make_directory(dir + name));
    };
  };
  const auto symlink = [](const std::string& target, const std::string& name) {
    return [target, name](const PathUser& user, const std::string& dir) {
      must_be(user.make_symlink(target, dir + name));
    };
  };
  const auto fifo = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) {
      must_be(user.make_node(dir + name, S_IFIFO | 0600));
    };
  };
  const auto linked = [](const std::string& name, const std::string& other) {
    return [name, other](const PathUser& user, const std::string& dir) {
      must_be(user.link(dir + name, dir + other));
    };
  };
  const auto rename = [](const std::string& from, const std::string& to, unsigned flags = 0) {
    return [from, to, flags](const PathUser& user, const std::string& dir) {
      return user.rename(dir + from, dir + to, flags);
    };
  };
  const auto unlink = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) { return user.unlink(dir + name); };
  };
  const auto create = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) -> Result<void> {
      TRY(user.create(dir + name));
      return {};
    };
  };
  const auto make_symlink = [](const std::string& target, const std::string& name) {
    return [target, name](const PathUser& user, const std::string& dir) {
      return user.make_symlink(target, dir + name);
    };
  };
  const auto make_directory = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) {
      return user.make_directory(dir + name);
    };
  };
  const auto make_fifo = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) {
      return user.make_node(dir + name, S_IFIFO | 0600);
    };
  };
  const auto link = [](const std::string& name, const std::string& other) {
    return [name, other](const PathUser& user, const std::string& dir) {
      return user.link(dir + name, dir + other);
    };
  };
  const auto remove_directory = [](const std::string& name) {
    return [name](const PathUser& user, const std::string& dir) {
      return user.remove_directory(dir + name);
    };
  };
  const auto xattr = [](const std::string& name, const std::string& key, const std::string& value) {
    return [=](const PathUser& user, const std::string& dir) {
      must_be(user.set_xattr(dir + name, key, value));
    };
  };
  const auto set_xattr = [](const std::string& name, const std::string& key,
                            const std::string& value) {
    return [=](const PathUser& user, const std::string& dir) {
      return user.set_xattr(dir + name, key, value);
    };
  };
  const auto remove_xattr = [](const std::string& name, const std::string& key) {
    return [=](const PathUser& user, const std::string& dir) {
      return user.remove_xattr(dir + name, key);
    };
  };
  const std::string l = "/" + kLong;
  const std::string m = "/d/" + kLonger;
  return {
      {"create", nothing, create("/f")},
      {"create, long", nothing, create(l)},
      {"create what is there, long", file(l), create(l)},
      {"mkdir", nothing, make_directory("/x")},
      {"mkdir, long", nothing, make_directory(l)},
      {"mkdir what is there, long", file(l), make_directory(l)},
      {"mkfifo", nothing, make_fifo("/p")},
      {"mkfifo, long", nothing, make_fifo(l)},
      {"symlink", nothing, make_symlink("target", "/s")},
      {"symlink, long to long", nothing, make_symlink(kTarget, l)},
      {"symlink what is there", symlink(kTarget, l), make_symlink(kTarget, l)},
      {"link", file("/f"), link("/f", "/g")},
      {"link, long", each(file(l), directory("/d")), link(l, m)},
      {"link what is there", each(file("/f"), linked("/f", l)), link("/f", l)},
      {"unlink", file("/f"), unlink("/f")},
      {"unlink, long", file(l), unlink(l)},
      {"unlink one of two links", each(file("/f"), linked("/f", l)), unlink(l)},
      {"unlink a long symlink", symlink(kTarget, l), unlink(l)},
      {"unlink a fifo", fifo(l), unlink(l)},
      {"rmdir", directory("/x"), remove_directory("/x")},
      {"rmdir, long", directory(l), remove_directory(l)},
      {"rename a file", each(file(l), directory("/d")), rename(l, m)},
      {"rename a file over another", each(file(l), directory("/d"), file(m)), rename(l, m)},
      {"rename a file over one of two links", each(file("/f"), file("/g"), linked("/g", l)),
       rename("/f", l)},
      {"rename a file over a symlink", each(file("/f"), symlink(kTarget, l)), rename("/f", l)},
      {"rename a file over a fifo", each(file("/f"), fifo(l)), rename("/f", l)},
      {"rename a directory", each(directory(l), file(l + "/f"), directory("/d")), rename(l, m)},
      {"rename a directory over another",
       each(directory(l), file(l + "/f"), directory("/d"), directory(m)), rename(l, m)},
      {"rename a symlink", each(symlink(kTarget, l), directory("/d")), rename(l, m)},
      {"rename a symlink over another",
       each(symlink(kTarget, l), directory("/d"), symlink(kTarget + "2", m)), rename(l, m)},
      {"exchange files", each(file(l), directory("/d"), file(m)), rename(l, m, RENAME_EXCHANGE)},
      {"exchange a directory and a symlink",
       each(directory(l), file(l + "/f"), directory("/d"), symlink(kTarget, m)),
       rename(l, m, RENAME_EXCHANGE)},
      {"exchange symlinks", each(symlink(kTarget, l), directory("/d"), symlink(kTarget + "2", m)),
       rename(l, m, RENAME_EXCHANGE)},
      {"setxattr, the first", file("/f"), set_xattr("/f", "user.a", "one")},
      {"setxattr, another", each(file("/f"), xattr("/f", "user.a", "one")),
       set_xattr("/f", "user.b", "two")},
      {"removexattr, the last", each(file("/f"), xattr("/f", "user.a", "one")),
       remove_xattr("/f", "user.a")},
      {"setxattr of a directory, the first", directory("/x"), set_xattr("/x", "user.a", "one")},
      {"setxattr of a directory, another", each(directory("/x"), xattr("/x", "user.a", "one")),
       set_xattr("/x", "user.a", "two")},
      {"removexattr of a directory, the last", each(directory("/x"), xattr("/x", "user.a", "one")),
       remove_xattr("/x", "user.a")},
      {"unlink a file with attributes", each(file("/f"), xattr("/f", "user.a", "one")),
       unlink("/f")},
      {"rmdir of one with attributes", each(directory("/x"), xattr("/x", "user.a", "one")),
       remove_directory("/x")},
  };
}

/// How calls fail from the chosen one on.
enum class Fault { kOnceEio, kOnceEnospc, kDiskFull };

/// True for what needs room on the disk.
bool allocates(const SystemCall& call) {
  static const std::set<std::string_view> kinds = {"pwrite", "mkdirat", "mknodat", "symlinkat",
                                                   "linkat"};
  return kinds.count(call.what) != 0 || (call.what == "openat" && (call.flags & O_CREAT) != 0);
}

class FaultsTest : public StoreTest, public ::testing::WithParamInterface<std::size_t> {
 protected:
  FaultsTest() {
    calls_.before = [this](const SystemCall& call) { return decide(call); };
    store_.reopen({.calls = &calls_});
    store_.allow_reports();
    allow_flaws();  // sidecars that could not be removed: garbage, as the format says
  }

  const std::thread::id thread_ = std::this_thread::get_id();

  int decide(const SystemCall& call) {
    // Not those of the recorder's thread, which settles what was closed whenever it comes by.
    if (std::this_thread::get_id() != thread_ || !armed_) return 0;
    const std::size_t number = count_++;
    if (fault_ == Fault::kDiskFull) return number >= failing_ && allocates(call) ? ENOSPC : 0;
    if (number != failing_) return 0;
    failed_ = std::string(call.what) + " " + call.name;
    return fault_ == Fault::kOnceEio ? EIO : ENOSPC;
  }

  Tree subtree(const std::string& dir) {
    Tree tree;
    for (const auto& [path, entry] : read_tree(me(), dir)) {
      if (path != dir) tree[path.substr(dir.size())] = entry;
    }
    return tree;
  }

  HookedSyscalls calls_;
  bool armed_ = false;
  Fault fault_ = Fault::kOnceEio;
  std::size_t count_ = 0;
  std::size_t failing_ = 0;
  std::string failed_;
};

std::string print(const Tree& tree) {
  std::ostringstream out;
  for (const auto& [path, entry] : tree) out << "  " << path.substr(0, 12) << " " << entry << "\n";
  return out.str();
}

TEST_P(FaultsTest, TheTreeIsAsBeforeOrAsAfter) {
  const Change change = changes().at(GetParam());
  SCOPED_TRACE(change.name);
  // As it is done without a fault.
  ASSERT_EQ(outcome_of(me().make_directory("/model")), kOk);
  change.prepare(me(), "/model");
  const Tree before = subtree("/model");
  const std::string outcome = outcome_of(change.make(me(), "/model"));
  const Tree after = subtree("/model");
  ASSERT_THAT(unreadable(after), IsEmpty());

  std::map<std::string, Tree> left;
  std::size_t forgiven = 0;
  int round = 0;
  for (const Fault fault : {Fault::kOnceEio, Fault::kOnceEnospc, Fault::kDiskFull}) {
    for (failing_ = 0;; ++failing_) {
      const std::string dir = "/r" + std::to_string(round++);
      SCOPED_TRACE("call " + std::to_string(failing_) + ", fault " +
                   std::to_string(static_cast<int>(fault)));
      ASSERT_EQ(outcome_of(me().make_directory(dir)), kOk);
      change.prepare(me(), dir);
      // Nothing is left to be done by others meanwhile.
      store_.key_states();
      fault_ = fault;
      count_ = 0;
      failed_.clear();
      armed_ = true;
      const auto made = change.make(me(), dir);
      armed_ = false;
      const std::size_t calls = count_;
      SCOPED_TRACE(failed_ + " → " + outcome_of(made));
      store_.reports();
      const Tree now = subtree(dir);
      EXPECT_THAT(unreadable(now), IsEmpty());
      // What can't be read can be removed all the same. Its key then stays, for `coffer verify` to
      // find.
      if (made.ok() && !failed_.empty()) ++forgiven;
      if (outcome == kOk && made.ok()) {
        EXPECT_EQ(now, after) << print(now) << "expected\n" << print(after);
      } else {
        EXPECT_TRUE(now == before || now == after) << print(now) << "before\n"
                                                   << print(before) << "after\n"
                                                   << print(after);
      }
      vfs().settle_closed();
      EXPECT_EQ(vfs().counts().inodes, 1U);
      EXPECT_EQ(vfs().counts().open_files, 0U);
      left[dir] = now;
      if (HasFailure()) return;
      if (failing_ >= calls) break;
    }
  }
  store_.reopen();
  store_.allow_reports();
  std::size_t files = 0;
  std::set<ino_t> seen;
  for (const auto& [path, entry] : read_tree(me())) {
    if (S_ISREG(entry.mode) && seen.insert(me().status(path)->st_ino).second) ++files;
  }
  for (const auto& [dir, tree] : left) EXPECT_EQ(subtree(dir), tree) << dir;
  const std::size_t keys = store_.key_states()[KeyState::kActive];
  EXPECT_GE(keys, files) << "a live key for each file";
  EXPECT_LE(keys, files + forgiven) << "and no more";
  EXPECT_THAT(backing_names(store_.backing(".coffer/tmp")), IsEmpty());
  for (const std::string& flaw : backing_flaws(store_.backing())) {
    EXPECT_TRUE(flaw.find("/.coffer.name.") != std::string::npos ||
                flaw.find("/.coffer.target.") != std::string::npos ||
                flaw.find("/.coffer/xattrs/") != std::string::npos ||
                flaw.find(".new") != std::string::npos)
        << flaw;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, FaultsTest, ::testing::Range<std::size_t>(0, changes().size()),
                         [](const auto& number) {
                           std::string name = changes().at(number.param).name;
                           for (char& letter : name) {
                             if (letter == ' ' || letter == ',') letter = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace coffer
