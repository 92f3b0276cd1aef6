#include "keystore/broker/key_broker.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/keystore_audit_keys.h"
#include "tests/support/keystore_audit_lines.h"
#include "tests/support/keystore_process.h"
#include "tests/support/keystore_raw_database.h"
#include "tests/support/keystore_store.h"
#include "tests/unit/keystore/broker/policies.h"

namespace coffer {
namespace {

using nlohmann::json;
using std::chrono::seconds;
using testing::eventually;
using testing::everyone_grant;
using testing::kList;
using testing::kRead;
using testing::kWrite;
using testing::must_be;
using testing::outcome;
using testing::RawDatabase;
using testing::selector_grant;
using testing::TestStore;
using testing::user;

/// A store whose root is user 1's and whose scope /models is user 2's; with a file in each.
class KeyBrokerTest : public ::testing::Test {
 protected:
  KeyBrokerTest() : keyring_(store_.open()), log_path_(store_.dir.file("audit.log")) {
    models_ = must_be(keyring_->add_scope("/models", DirId{}, ScopeSettings{}));
    must_be(keyring_->add_grant(selector_grant(models_, {"unix:uid:2"}, 2)));
    root_file_ = std::move(must_be(keyring_->make_deks(kRootScope, 1)).front());
    models_file_ = std::move(must_be(keyring_->make_deks(models_, 1)).front());
  }

  void start(std::chrono::milliseconds lock_wait = seconds(60)) {
    audit_ = must_be(AuditLog::open(log_path_, store_.id, store_.clock, testing::audit_keys(),
                                    {.lock_wait = lock_wait}));
    broker_ = must_be(KeyBroker::create(*keyring_, *audit_, store_.clock));
  }

  AccessRequest request(const Identity& who, ScopeId scope, Rights rights,
                        std::string_view path) const {
    return {.scope = scope, .who = who, .rights = rights, .path = path};
  }

  std::vector<json> lines() const { return testing::audit_lines(log_path_); }

  /// A refusal is told to its caller, and written once, without a key.
  template <typename T>
  void expect_refused(const Result<T>& result, Code code, int errno_value,
                      const std::string& reason) {
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().code, code) << result.error().message();
    EXPECT_EQ(result.error().errno_value, errno_value);
    EXPECT_THAT(result.error().context, ::testing::HasSubstr(reason));
    const std::vector<json> all = lines();
    ASSERT_EQ(all.size(), lines_before_ + 1);
    const json& line = all.back();
    EXPECT_EQ(line.at("event"), "refuse");
    EXPECT_EQ(line.at("decision"), "deny");
    EXPECT_THAT(line.at("reason").get<std::string>(), ::testing::HasSubstr(reason));
    EXPECT_FALSE(line.contains("key_version"));
    lines_before_ = all.size();
  }

  TestStore store_{{.root_wrap = Wrap::kKek, .root_selectors = {"unix:uid:1"}}};
  std::unique_ptr<Keyring> keyring_;
  std::string log_path_;
  ScopeId models_;
  Dek root_file_;
  Dek models_file_;
  std::unique_ptr<AuditLog> audit_;
  std::unique_ptr<KeyBroker> broker_;
  std::size_t lines_before_ = 0;
  const Identity owner_ = user(1);
  const Identity reader_ = user(2);
  const Identity stranger_ = user(3);
};

TEST_F(KeyBrokerTest, ReleasesAKeyAndSaysSo) {
  start();
  const Dek dek = must_be(broker_->release(models_file_.file, models_file_.version,
                                           request(reader_, models_, kRead, "/models/a\nb")));
  EXPECT_TRUE(constant_time_equal(dek.key.expose(), models_file_.key.expose()));
  EXPECT_EQ(dek.scope, models_);

  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 1U);
  json expected = {
      {"store", store_.id.hex()},
      {"event", "release"},
      {"decision", "allow"},
      {"right", "read"},
      {"scope", "/models"},
      {"path", "/models/a\nb"},
      {"file", models_file_.file.hex()},
      {"identity", {{"uid", 2}, {"gid", 50}, {"pid", 99}, {"selectors", {"unix:uid:2"}}}},
      {"grant", 2},
      {"key_version", 1},
      {"reason", "granted"}};
  for (const char* const of_the_log : {"time", "log", "n", "mac"}) {
    expected[of_the_log] = all[0].at(of_the_log);
  }
  EXPECT_EQ(all[0], expected);
}

TEST_F(KeyBrokerTest, TellsWhichGrantLetsIn) {
  start();
  std::optional<GrantId> grant;
  AccessRequest asking = request(reader_, models_, kRead, "/models/a");
  asking.let_in_by = &grant;
  must_be(broker_->release(models_file_.file, models_file_.version, asking));
  EXPECT_EQ(grant, GrantId{2});
  AccessRequest making = request(owner_, kRootScope, kWrite, "/new");
  making.let_in_by = &grant;
  must_be(broker_->release_new(making));
  EXPECT_EQ(grant, GrantId{1});
  grant.reset();
  asking.rights = kWrite;
  EXPECT_FALSE(broker_->release(models_file_.file, models_file_.version, asking).ok());
  EXPECT_FALSE(grant.has_value());
}

TEST_F(KeyBrokerTest, NotesAClose) {
  start();
  Rights rights = kRead;
  rights.add(Right::kWrite);
  const std::uint64_t much = std::uint64_t{5} << 40U;
  must_be(broker_->note_close(request(reader_, models_, rights, "/models/a"),
                              {.key = {models_file_.file, models_file_.version},
                               .grant = GrantId{2},
                               .bytes_read = much,
                               .bytes_written = ~std::uint64_t{0}}));
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 1U);
  json expected = {
      {"store", store_.id.hex()},
      {"event", "close"},
      {"right", "read,write"},
      {"scope", "/models"},
      {"path", "/models/a"},
      {"file", models_file_.file.hex()},
      {"identity", {{"uid", 2}, {"gid", 50}, {"pid", 99}, {"selectors", {"unix:uid:2"}}}},
      {"grant", 2},
      {"key_version", 1},
      {"bytes_read", much},
      {"bytes_written", ~std::uint64_t{0}}};
  for (const char* const of_the_log : {"time", "log", "n", "mac"}) {
    expected[of_the_log] = all[0].at(of_the_log);
  }
  EXPECT_EQ(all[0], expected);
}

TEST_F(KeyBrokerTest, ReleasesANewKeyThatIsInTheKeystoreAlready) {
  start();
  const Dek dek = must_be(broker_->release_new(request(owner_, kRootScope, kWrite, "/new")));
  EXPECT_EQ(dek.scope, kRootScope);
  EXPECT_TRUE(equal(must_be(keyring_->dek(dek.file, dek.version)).key.expose(), dek.key.expose()));
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].at("event"), "release");
  EXPECT_EQ(all[0].at("right"), "write");
  EXPECT_EQ(all[0].at("file"), dek.file.hex());
  EXPECT_EQ(all[0].at("key_version"), 1);
  EXPECT_EQ(all[0].at("grant"), 1);
}

TEST_F(KeyBrokerTest, RefusesWhoHasNoGrant) {
  start();
  const auto ask = [&](const Identity& who, ScopeId scope, Rights rights) {
    return broker_->release(models_file_.file, models_file_.version,
                            request(who, scope, rights, "/models/x"));
  };
  expect_refused(ask(stranger_, models_, kRead), Code::kDenied, EACCES, "no grant");
  expect_refused(ask(reader_, models_, kWrite), Code::kDenied, EACCES, "no grant");
  expect_refused(ask(reader_, models_, Rights{6}), Code::kDenied, EACCES, "no grant");
  expect_refused(ask(owner_, models_, kRead), Code::kDenied, EACCES, "no grant");
  expect_refused(ask(Identity{}, models_, kList), Code::kDenied, EACCES, "no grant");
  expect_refused(ask(reader_, models_, Rights{0}), Code::kDenied, EACCES, "no right");
  expect_refused(ask(owner_, ScopeId{77}, kRead), Code::kDenied, EACCES, "no grant");
  const json last = lines().back();
  EXPECT_EQ(last.at("path"), "/models/x");
  EXPECT_EQ(last.at("identity").at("uid"), 1);
  EXPECT_FALSE(last.contains("scope"));  // there is none of that id
  EXPECT_FALSE(last.contains("grant"));
  // A refusal by decision asks no KMS and reads no key.
  EXPECT_FALSE(last.contains("file"));
}

TEST_F(KeyBrokerTest, RefusesWithTheErrnoOfTheCause) {
  GrantRow denied = everyone_grant(models_, 2);
  denied.deny = true;
  denied.everyone = false;
  denied.selectors = {"unix:uid:10"};
  must_be(keyring_->add_grant(selector_grant(models_, {"unix:uid:10"})));
  const GrantId deny = must_be(keyring_->add_grant(denied));
  const GrantId revoked = must_be(keyring_->add_grant(selector_grant(models_, {"unix:uid:11"})));
  must_be(keyring_->revoke_grant(revoked));
  GrantRow over = selector_grant(models_, {"unix:uid:12"});
  over.not_after = store_.clock.unix_seconds() - 1;
  const GrantId expired = must_be(keyring_->add_grant(over));
  start();
  const auto ask = [&](uid_t uid) {
    const Identity who = user(uid);
    return broker_->release(models_file_.file, models_file_.version,
                            request(who, models_, kRead, "/models/x"));
  };
  expect_refused(ask(10), Code::kDenied, EACCES, "denied by a grant");
  EXPECT_EQ(lines().back().at("grant"), deny.value);
  expect_refused(ask(11), Code::kRevoked, EKEYREVOKED, "revoked");
  EXPECT_EQ(lines().back().at("grant"), revoked.value);
  expect_refused(ask(12), Code::kExpired, EKEYEXPIRED, "expired");
  EXPECT_EQ(lines().back().at("grant"), expired.value);
}

TEST_F(KeyBrokerTest, RefusesForWantOfAKey) {
  Dek retired = std::move(must_be(keyring_->make_deks(models_, 1)).front());
  const FileRecord gone{
      .file = retired.file, .version = retired.version, .state = KeyState::kDeactivated};
  must_be(keyring_->record({&gone, 1}));
  Dek altered = std::move(must_be(keyring_->make_deks(models_, 1)).front());
  RawDatabase(store_.path)
      .run("UPDATE deks SET changed_at = 1 WHERE file_id = X'" + altered.file.hex() + "'");
  start();
  const AccessRequest asked = request(reader_, models_, kRead, "/models/x");
  FileId unknown;
  unknown.bytes.fill(1);

  expect_refused(broker_->release(unknown, KeyVersion{1}, asked), Code::kKeyUnavailable, ENOKEY,
                 "no key");
  EXPECT_EQ(lines().back().at("file"), unknown.hex());
  EXPECT_EQ(lines().back().at("grant"), 2);  // allowed by it, and then not to be had
  expect_refused(broker_->release(models_file_.file, KeyVersion{2}, asked), Code::kKeyUnavailable,
                 ENOKEY, "no key");
  expect_refused(broker_->release(retired.file, retired.version, asked), Code::kRevoked,
                 EKEYREVOKED, "deactivated");
  expect_refused(broker_->release(altered.file, altered.version, asked), Code::kCorrupt, 0,
                 "altered");
  expect_refused(broker_->release(root_file_.file, root_file_.version, asked), Code::kMoved, 0,
                 "another scope");
}

TEST_F(KeyBrokerTest, AKmsOutOfReachIsNoKeyWhateverTheSystemSays) {
  start();
  keyring_->forget_keys();
  // A key file that is gone would be ENOENT: to an open of a file that is there.
  store_.kms.fail_with(Error{Code::kKeyUnavailable, ENOENT, "KMS"});
  const auto refused = broker_->release(models_file_.file, models_file_.version,
                                        request(reader_, models_, kRead, "/models/x"));
  expect_refused(refused, Code::kKeyUnavailable, ENOKEY, "KMS: No such file or directory");
  EXPECT_THAT(refused.error().context, ::testing::StartsWith("/models/x: "));
  expect_refused(
      broker_->release_names(request(reader_, models_, kRead, "/models/x"), KeyBroker::Lines::kAll),
      Code::kKeyUnavailable, ENOKEY, "KMS");
  store_.kms.fail_with(std::nullopt);
  EXPECT_EQ(outcome(broker_->release(models_file_.file, models_file_.version,
                                     request(reader_, models_, kRead, "/models/x"))),
            "ok");
}

TEST_F(KeyBrokerTest, AReadOnlyKeystoreHasNoNewKeys) {
  keyring_ = store_.open(Keyring::Access::kReadOnly);
  start();
  EXPECT_EQ(outcome(broker_->release(models_file_.file, models_file_.version,
                                     request(reader_, models_, kRead, "/models/x"))),
            "ok");
  lines_before_ = 1;
  expect_refused(broker_->release_new(request(owner_, kRootScope, kWrite, "/new")), Code::kReadOnly,
                 EROFS, "read-only");
}

TEST_F(KeyBrokerTest, CheckWritesRefusalsOnly) {
  start();
  EXPECT_EQ(outcome(broker_->check(request(owner_, kRootScope, kWrite, "/dir"))), "ok");
  EXPECT_TRUE(lines().empty());
  expect_refused(broker_->check(request(reader_, kRootScope, kWrite, "/dir")), Code::kDenied,
                 EACCES, "no grant");
  EXPECT_EQ(lines()[0].at("path"), "/dir");
  EXPECT_EQ(lines()[0].at("right"), "write");
}

TEST_F(KeyBrokerTest, NotesAreLines) {
  start();
  must_be(broker_->note("admin", owner_, "/models", "grant add 7"));
  const std::vector<json> all = lines();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].at("event"), "admin");
  EXPECT_EQ(all[0].at("scope"), "/models");
  EXPECT_EQ(all[0].at("detail"), "grant add 7");
  EXPECT_EQ(all[0].at("identity").at("uid"), 1);
  EXPECT_FALSE(all[0].contains("decision"));
}

TEST_F(KeyBrokerTest, WithoutALineThereIsNoRelease) {
  start(std::chrono::milliseconds(1));
  must_be(broker_->release_new(request(owner_, kRootScope, kWrite, "/first")));
  const std::int64_t keys = RawDatabase(store_.path).number("SELECT count(*) FROM deks");
  // Another process sits on the log's lock; a full disk is audit_log_faults_test's.
  const UniqueFd sitting(::open(log_path_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(sitting.get(), LOCK_EX), 0);
  const AccessRequest asked = request(reader_, models_, kRead, "/models/x");
  EXPECT_EQ(outcome(broker_->release(models_file_.file, models_file_.version, asked)), "busy");
  EXPECT_EQ(outcome(broker_->release_names(asked, KeyBroker::Lines::kAll)), "busy");
  EXPECT_EQ(outcome(broker_->note("admin", owner_, "/", "x")), "busy");
  // Refused stays refused.
  EXPECT_FALSE(broker_->check(request(stranger_, kRootScope, kRead, "/")).ok());
  // New keys that were not released are not used up.
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(outcome(broker_->release_new(request(owner_, kRootScope, kWrite, "/new"))), "busy");
  }
  EXPECT_EQ(RawDatabase(store_.path).number("SELECT count(*) FROM deks"), keys);
  // A lookup that needs no line goes on.
  EXPECT_EQ(outcome(broker_->release_names(asked, KeyBroker::Lines::kRefusals)), "ok");

  ASSERT_EQ(::flock(sitting.get(), LOCK_UN), 0);
  EXPECT_EQ(outcome(broker_->release(models_file_.file, models_file_.version, asked)), "ok");
  EXPECT_EQ(lines().size(), 2U);
}

TEST_F(KeyBrokerTest, NamesAreReleasedOncePerLine) {
  start();
  const AccessRequest asked = request(reader_, models_, kList, "/models");
  const auto first = must_be(broker_->release_names(asked, KeyBroker::Lines::kRefusals));
  EXPECT_TRUE(equal(first->expose(), must_be(keyring_->scope_secret(models_)).expose()));
  EXPECT_TRUE(lines().empty());
  // The same object, so that what was derived from it can be kept.
  EXPECT_EQ(must_be(broker_->release_names(asked, KeyBroker::Lines::kRefusals)), first);
  EXPECT_EQ(must_be(broker_->release_names(asked, KeyBroker::Lines::kAll)), first);
  ASSERT_EQ(lines().size(), 1U);
  EXPECT_EQ(lines()[0].at("event"), "release");
  EXPECT_EQ(lines()[0].at("right"), "list");
  EXPECT_FALSE(lines()[0].contains("file"));
  lines_before_ = 1;
  expect_refused(broker_->release_names(request(stranger_, models_, kList, "/models"),
                                        KeyBroker::Lines::kRefusals),
                 Code::kDenied, EACCES, "no grant");
}

TEST_F(KeyBrokerTest, ALookupIsLetInByWhatTheRequestSaysOrNotAtAll) {
  start();
  const AccessRequest asked = request(reader_, models_, kList, "/models");
  EXPECT_EQ(broker_->find_names(asked),
            must_be(broker_->release_names(asked, KeyBroker::Lines::kRefusals)));
  const Identity unknown{.uid = 2, .gid = 50, .pid = 0, .selectors = {}};
  EXPECT_EQ(broker_->find_names(request(unknown, models_, kList, "/models")), nullptr);
  // Whom it does not let in is refused by another decision, and there on record.
  EXPECT_EQ(broker_->find_names(request(stranger_, models_, kList, "/models")), nullptr);
  EXPECT_EQ(broker_->find_names(request(reader_, models_, kWrite, "/models")), nullptr);
  EXPECT_TRUE(lines().empty());
  // A group is told by no request: it might be one of the caller's.
  GrantRow deny = selector_grant(models_, {"unix:supplementary_gid:77"}, 1);
  deny.deny = true;
  must_be(keyring_->add_grant(deny));
  ASSERT_TRUE(broker_->reload().ok());
  Identity by_request = reader_;
  by_request.known = Sources{};
  EXPECT_EQ(broker_->find_names(request(by_request, models_, kList, "/models")), nullptr);
  EXPECT_EQ(outcome(broker_->release_names(asked, KeyBroker::Lines::kRefusals)), "ok");
  // A grant that asks for more keeps nobody from being let in by another.
  deny.deny = false;
  must_be(keyring_->revoke_grant(must_be(broker_->policy())->grants(models_).back().id));
  must_be(keyring_->add_grant(deny));
  ASSERT_TRUE(broker_->reload().ok());
  EXPECT_NE(broker_->find_names(request(by_request, models_, kList, "/models")), nullptr);
}

TEST_F(KeyBrokerTest, NamesLiveAsLongAsOtherKeys) {
  keyring_ = store_.open(Keyring::Access::kReadWrite, {.ttl_s = 100});
  start();
  const AccessRequest asked = request(reader_, models_, kList, "/models");
  const auto first = must_be(broker_->release_names(asked, KeyBroker::Lines::kRefusals));
  store_.kms.fail_with(Error{Code::kKeyUnavailable, 0, "down"});
  store_.clock.advance(seconds(50));
  EXPECT_EQ(outcome(broker_->release_names(asked, KeyBroker::Lines::kRefusals)), "ok");
  store_.clock.advance(seconds(51));
  EXPECT_EQ(outcome(broker_->release_names(asked, KeyBroker::Lines::kRefusals)), "key-unavailable");
  store_.kms.fail_with(std::nullopt);
  EXPECT_EQ(must_be(broker_->release_names(asked, KeyBroker::Lines::kRefusals)), first);
  // A clock set back does not lengthen it.
  store_.kms.fail_with(Error{Code::kKeyUnavailable, 0, "down"});
  store_.clock.advance(seconds(-5000));
  EXPECT_EQ(outcome(broker_->release_names(asked, KeyBroker::Lines::kRefusals)), "key-unavailable");
}

TEST_F(KeyBrokerTest, KeysAreAskedForBeforeTheirTimeIsOver) {
  keyring_ = store_.open(Keyring::Access::kReadWrite, {.ttl_s = 16});
  start();
  const AccessRequest asked = request(reader_, models_, kList, "/models");
  EXPECT_EQ(outcome(broker_->check(asked)), "ok");
  EXPECT_EQ(outcome(keyring_->scope_secret(models_)), "ok");
  EXPECT_EQ(outcome(keyring_->scope_secret(models_)), "ok");
  const std::size_t keks = store_.kms.unwraps(KeyContext::Purpose::kKek);
  store_.clock.advance(seconds(13));
  EXPECT_TRUE(eventually([&] { return store_.kms.unwraps(KeyContext::Purpose::kKek) > keks; }));
}

TEST_F(KeyBrokerTest, TheWayToAGrantedScopeIsPassedAndNotRead) {
  start();
  const AccessRequest root = request(reader_, kRootScope, kList, "/");
  EXPECT_EQ(outcome(broker_->release_names(root, KeyBroker::Lines::kRefusals)), "ok");
  EXPECT_TRUE(lines().empty());
  // Listing the directory, opening a file in it, or another path: no.
  expect_refused(broker_->release_names(root, KeyBroker::Lines::kAll), Code::kDenied, EACCES,
                 "no grant");
  expect_refused(broker_->release(root_file_.file, root_file_.version,
                                  request(reader_, kRootScope, kRead, "/")),
                 Code::kDenied, EACCES, "no grant");
  expect_refused(broker_->check(root), Code::kDenied, EACCES, "no grant");
  expect_refused(broker_->release_names(request(reader_, kRootScope, kList, "/other"),
                                        KeyBroker::Lines::kRefusals),
                 Code::kDenied, EACCES, "no grant");
  expect_refused(broker_->release_names(request(stranger_, kRootScope, kList, "/"),
                                        KeyBroker::Lines::kRefusals),
                 Code::kDenied, EACCES, "no grant");
}

TEST_F(KeyBrokerTest, AGrantOfAFileIsCheckedBeforeItsKeyIsLookedFor) {
  start();
  const std::size_t asked_before = store_.kms.unwraps();
  FileId unknown;
  // A stranger learns nothing of which files have keys.
  for (const FileId& file : {unknown, root_file_.file}) {
    const auto refused =
        broker_->release(file, KeyVersion{1}, request(stranger_, kRootScope, kRead, "/x"));
    expect_refused(refused, Code::kDenied, EACCES, "no grant");
  }
  EXPECT_EQ(store_.kms.unwraps(), asked_before);
}

}  // namespace
}  // namespace coffer
