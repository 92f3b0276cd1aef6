#include "tests/fuzz/audit_targets.h"

#include <algorithm>
#include <set>

#include "keystore/audit/checkpoint.h"
#include "keystore/audit/log_files.h"

namespace coffer::fuzz {
namespace {

const LineMac& line_mac() {
  static const LineMac mac(ByteVector(32, 0x11));
  return mac;
}

const Ed25519Key& own_key() {
  static const Ed25519Key key(SecretBytes::copy_of(ByteVector(32, 0x22)));
  return key;
}

std::string text_of(Bytes bytes) { return std::string(as_text(bytes)); }

ByteVector bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

ByteVector with_first(std::uint8_t first, std::string_view text) {
  ByteVector bytes = bytes_of(text);
  bytes.insert(bytes.begin(), first);
  return bytes;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  if (!text.empty()) lines.emplace_back(text);
  return lines;
}

/// One file of a log, line by line as it would be written: the same at each run, so that an input
/// that was kept means the same.
class SampleFile {
 public:
  explicit SampleFile(const LogHead& head) : head_(head), chain_(head.prev), tree_(head.tree) {}

  void add(std::string_view event, std::string_view more = "") {
    std::string line = R"({"time":"2026-11-22T18:00:00.000001Z","store":")" + StoreId{}.hex() +
                       R"(","event":")" + std::string(event) + "\"" + std::string(more);
    if (text_.empty()) line += head_field(head_);
    line += number_fields(torn_, tree_.size());
    torn_ = 0;
    chain_ = line_mac().next(chain_, as_bytes(line));
    end(line + mac_field(chain_));
  }
  /// What a crash left, which the next line vouches for.
  void add_torn(const std::string& piece) {
    chain_ = line_mac().next(chain_, as_bytes(piece));
    ++torn_;
    end(piece);
  }

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] LogHead next_head() const {
    return {.id = head_.id, .prev = chain_, .tree = tree_, .after = {}};
  }
  [[nodiscard]] SideFile side_file() const {
    const Checkpoint checkpoint{
        .origin = "coffer/store/log", .size = tree_.size(), .root = tree_.root()};
    return {.id = head_.id,
            .first = head_.tree.size(),
            .offset = text_.size(),
            .chain = chain_,
            .tree = tree_,
            .note = sign_checkpoint(checkpoint, own_key())};
  }

 private:
  void end(const std::string& line) {
    tree_.append(leaf_hash(as_bytes(line)));
    text_ += line + "\n";
  }

  const LogHead head_;
  ChainValue chain_;
  MerkleTree tree_;
  std::uint64_t torn_ = 0;
  std::string text_;
};

/// A log in two files, the first with lines that crashes have torn; and one that begins anew.
struct SampleLogs {
  std::string first_file;
  std::string second_file;
  std::string anew;
  std::string side_file;
  std::string note;

  SampleLogs() {
    LogId id;
    id.bytes.fill(7);
    SampleFile first({.id = id, .prev = line_mac().start(id), .tree = {}, .after = {}});
    first.add("release", R"(,"decision":"allow","path":"/file","identity":{"uid":1000})");
    first.add("close", R"(,"path":"/na\"me","bytes_read":4096)");
    first.add_torn(R"({"time":"2026-11-22T18:)");
    first.add_torn("{");
    first.add("release");
    first.add_torn("");
    first.add("withdraw", R"(,"decision":"deny")");
    SampleFile second(first.next_head());
    for (int i = 0; i < 4; ++i) second.add("release", R"(,"grant":7)");
    LogId other;
    other.bytes.fill(8);
    SampleFile begun({.id = other,
                      .prev = line_mac().start(other),
                      .tree = {},
                      .after = EndedLog{.id = id, .lines = 12, .why = EndedLog::kCut}});
    begun.add("admin", R"(,"detail":"grant add")");
    begun.add("release");
    first_file = first.text();
    second_file = second.text();
    anew = begun.text();
    note = second.side_file().note;
    side_file = encode_side_file(second.side_file(), line_mac());
  }
};

const SampleLogs& samples() {
  static const SampleLogs logs;
  return logs;
}

std::string first_line_of(const std::string& file) { return file.substr(0, file.find('\n')); }

/// A line goes into the parts that it is put together from.
void check_line_end(std::string_view line) {
  const auto end = parse_line_end(as_bytes(line));
  if (!end) return;
  require(text_of(end->body) + mac_field(end->mac) == line, "a line is its body and its MAC");
  require(as_text(end->body).ends_with(number_fields(end->torn, end->n)),
          "a line's number stands before its MAC");
}

/// Goes over lines and compares with what the document says of their chain.
void check_walk(const std::vector<std::string>& lines, const LogHead& head,
                const std::set<std::string>& written) {
  LineWalk walk(line_mac(), head.prev, head.tree.size());
  ChainValue chain = head.prev;  // of all lines so far, if each before the last was torn
  std::uint64_t count = head.tree.size();
  std::uint64_t pending = 0;
  bool damaged = false;
  for (const std::string& line : lines) {
    const auto found = walk.step(as_bytes(line));
    const auto end = parse_line_end(as_bytes(line));
    damaged = damaged || found == LineWalk::Found::kDamage;
    if (found == LineWalk::Found::kHolds) {
      require(written.count(line) > 0, "only a line that was written holds");
      require(walk.leaves().size() == pending + 1, "a leaf for each line");
      require(walk.leaves().back() == leaf_hash(as_bytes(line)), "a leaf is of its line");
      require(damaged || (end->torn == pending && end->n == count + pending),
              "a line that holds says its number, and which torn ones it vouches for");
    }
    if (found == LineWalk::Found::kPending) {
      ++pending;
      chain = line_mac().next(chain, as_bytes(line));
    } else {
      require(end.has_value(), "what goes on has an end");
      if (!damaged) {
        count += pending + 1;
        require(line_mac().next(chain, end->body) == walk.chain(), "the chain value as documented");
        require(walk.next() == count, "each line counts");
      }
      chain = walk.chain();
      pending = 0;
    }
    require(walk.pending() == pending, "lines that do not hold are counted");
    require(damaged || walk.pending_chain() == chain, "the chain value of torn lines");
  }
}

}  // namespace

int fuzz_audit_lines(const std::uint8_t* data, std::size_t size) {
  static const std::set<std::string> written = [] {
    std::set<std::string> all;
    for (const std::string& file : {samples().first_file, samples().second_file, samples().anew}) {
      const auto lines = lines_of(file);
      all.insert(lines.begin(), lines.end());
    }
    return all;
  }();
  Input input(data, size);
  const std::uint8_t how = input.byte();
  if (how % 2 == 0) {
    const std::string text = text_of(input.rest());
    check_line_end(text);
    const LogHead head = got(parse_head(as_bytes(first_line_of(samples().first_file)), line_mac()),
                             "the first line");
    check_walk(lines_of(text), head, written);
    return 0;
  }
  const std::string& file = how % 4 == 1 ? samples().first_file : samples().second_file;
  const std::string& other = how % 8 < 4 ? samples().anew : samples().second_file;
  const LogHead head = got(parse_head(as_bytes(first_line_of(file)), line_mac()), "the first line");
  const ByteVector changed = altered(bytes_of(file), input, as_bytes(other));
  const auto lines = lines_of(as_text(changed));
  for (const std::string& line : lines) check_line_end(line);
  check_walk(lines, head, written);
  return 0;
}

std::vector<ByteVector> audit_lines_seeds() {
  const SampleLogs& logs = samples();
  std::vector<ByteVector> seeds = {{1}, {3}, {5}, {7}};
  for (const std::string& file : {logs.first_file, logs.second_file, logs.anew}) {
    seeds.push_back(with_first(0, file));
    seeds.push_back(with_first(0, first_line_of(file)));
  }
  const std::string mac(22, 'A');
  for (const char* const fields :
       {R"({,"n":0)", R"({,"torn":1,"n":1)", R"({,"n":01)",
        R"({,"torn":0,"n":18446744073709551615)", R"({,"n":18446744073709551616)", R"({"n":1)"}) {
    seeds.push_back(with_first(0, std::string(fields) + R"(,"mac":")" + mac + R"("})"));
  }
  return seeds;
}

int fuzz_audit_head(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::uint8_t how = input.byte();
  if (how % 2 == 0) {
    const std::string line = text_of(input.rest());
    const auto claimed = claimed_head(as_bytes(line));
    require_code(claimed, {Code::kInvalid}, "what a first line claims");
    const auto believed = parse_head(as_bytes(line), line_mac());
    require_code(believed, {Code::kInvalid, Code::kCorrupt}, "a first line");
    require(claimed.ok() || !believed.ok(), "what is believed is claimed");
    if (!claimed) return 0;
    // What it would be believed to say if its MAC held.
    const auto end = parse_line_end(as_bytes(line));
    require(claimed->tree.size() == end->n, "a first line's tree has its number");
    const std::string body = text_of(end->body);
    const std::string sealed = body + mac_field(line_mac().next(claimed->prev, as_bytes(body)));
    const LogHead head = got(parse_head(as_bytes(sealed), line_mac()), "a line whose MAC holds");
    const std::string fields = "{" + head_field(head).substr(1) + number_fields(0, end->n);
    const std::string again = fields + mac_field(line_mac().next(head.prev, as_bytes(fields)));
    const LogHead same = got(parse_head(as_bytes(again), line_mac()), "a head as it is written");
    require(same.id == head.id && same.prev == head.prev &&
                std::ranges::equal(same.tree.roots(), head.tree.roots()) &&
                same.after.has_value() == head.after.has_value(),
            "a head says what it was written from");
    require(!head.after ||
                (same.after->id == head.after->id && same.after->lines == head.after->lines &&
                 same.after->why == head.after->why),
            "and so does what it comes after");
    return 0;
  }
  const std::string line = first_line_of(how % 4 == 1 ? samples().second_file : samples().anew);
  const std::string other = first_line_of(samples().first_file);
  const std::string changed = text_of(altered(bytes_of(line), input, as_bytes(other)));
  const auto head = parse_head(as_bytes(changed), line_mac());
  require_code(head, {Code::kInvalid, Code::kCorrupt}, "an altered first line");
  require(!head.ok() || changed == line || changed == other, "an altered first line is refused");
  return 0;
}

std::vector<ByteVector> audit_head_seeds() {
  const SampleLogs& logs = samples();
  std::vector<ByteVector> seeds = {{1}, {3}, {1, 0, 9, 0, 0, 0, 5, 0, 0, 0, 1}};
  for (const std::string& file : {logs.first_file, logs.second_file, logs.anew}) {
    seeds.push_back(with_first(0, first_line_of(file)));
  }
  seeds.push_back(with_first(0, lines_of(logs.first_file)[1]));
  return seeds;
}

int fuzz_audit_side_file(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const std::uint8_t how = input.byte();
  if (how % 3 == 0) {
    const std::string text = text_of(input.rest());
    const auto side = decode_side_file(text, line_mac());
    require_code(side, {Code::kCorrupt}, "a side file");
    require(!side || encode_side_file(*side, line_mac()) == text, "a side file has one form");
    return 0;
  }
  if (how % 3 == 1) {
    // As it would be believed if its MAC held.
    const std::string text = text_of(input.rest());
    const std::size_t first = text.find('\n');
    const std::size_t blank = text.find("\n\n");
    if (first == std::string::npos || blank == std::string::npos || blank <= first) return 0;
    const std::string sealed =
        to_base64url(line_mac().of_side_file(std::string_view(text).substr(0, blank)));
    const std::string whole =
        "coffer-audit-tree-1 " + text.substr(0, first) + " " + sealed + text.substr(first);
    const auto side = decode_side_file(whole, line_mac());
    require_code(side, {Code::kCorrupt}, "a side file");
    require(!side || encode_side_file(*side, line_mac()) == whole, "a side file has one form");
    require(!side || side->tree.size() > 0 || side->tree.roots().empty(), "an empty tree is empty");
    return 0;
  }
  const std::string& written = samples().side_file;
  const std::string changed = text_of(altered(bytes_of(written), input));
  const auto side = decode_side_file(changed, line_mac());
  require_code(side, {Code::kCorrupt}, "an altered side file");
  // The note is signed, and needs no MAC.
  const auto before_note = [](const std::string& text) {
    return text.substr(0, text.find("\n\n"));
  };
  require(!side || before_note(changed) == before_note(written), "an altered side file is refused");
  return 0;
}

std::vector<ByteVector> audit_side_file_seeds() {
  const std::string& side = samples().side_file;
  std::vector<ByteVector> seeds = {with_first(0, side), {2}, {2, 0, 3, 0, 0, 0, 9, 0, 0, 0, 1}};
  // Without the magic and the MAC: the second kind of input.
  const std::string magic = "coffer-audit-tree-1 ";
  const std::string line = first_line_of(side).substr(magic.size());
  seeds.push_back(with_first(1, line.substr(0, line.rfind(' ')) + side.substr(side.find('\n'))));
  const std::string id(32, 'a');
  seeds.push_back(with_first(1, id + " 0 0 0 " + std::string(22, 'A') + "\n\n\nnote"));
  return seeds;
}

int fuzz_audit_checkpoint(const std::uint8_t* data, std::size_t size) {
  static const Ed25519Key foreign(SecretBytes::copy_of(ByteVector(32, 0x33)));
  static const std::string& known = samples().note;
  static const Checkpoint in_sample =
      got(open_checkpoint(known, own_key().public_key()), "the note");
  Input input(data, size);
  if (input.byte() % 2 == 0) {
    const std::string text = text_of(input.rest());
    const auto parsed = parse_checkpoint_text(text);
    require_code(parsed, {Code::kInvalid}, "a checkpoint");
    require(!parsed || text.starts_with(checkpoint_text(*parsed)), "a checkpoint has one form");
    const auto opened = open_checkpoint(text, own_key().public_key());
    require_code(opened, {Code::kInvalid, Code::kCorrupt}, "a signed note");
    require(!opened || *opened == in_sample, "what was never signed does not open");
    return 0;
  }
  Checkpoint checkpoint{.origin = "coffer/" + to_hex(input.take(4)) + "/log",
                        .size = input.number<std::uint64_t>()};
  checkpoint.root.fill(input.byte());
  const std::string note = sign_checkpoint(checkpoint, own_key());
  require(
      got(open_checkpoint(note, own_key().public_key()), "a note that was signed") == checkpoint,
      "a note says what was signed");
  require_code(open_checkpoint(note, foreign.public_key()), {Code::kCorrupt}, "another's note");
  require(!open_checkpoint(note, foreign.public_key()).ok(), "another's note does not open");
  const std::string others = sign_checkpoint(checkpoint, foreign);
  const std::string changed = text_of(altered(bytes_of(note), input, as_bytes(others)));
  const auto opened = open_checkpoint(changed, own_key().public_key());
  require_code(opened, {Code::kInvalid, Code::kCorrupt}, "an altered note");
  require(!opened || *opened == checkpoint, "an altered note says nothing else");
  return 0;
}

std::vector<ByteVector> audit_checkpoint_seeds() {
  const std::string& note = samples().note;
  const std::string text = note.substr(0, note.rfind("\n\n") + 1);
  return {with_first(0, note),
          with_first(0, text),
          with_first(0, text + "extension\n"),
          with_first(0, note + note.substr(note.rfind("\n\n") + 2)),
          {1},
          {1, 1, 2, 3, 4, 9, 0, 0, 0, 0, 0, 0, 0, 7, 1, 3, 5, 0, 0, 0, 1, 0, 0, 0}};
}

}  // namespace coffer::fuzz
