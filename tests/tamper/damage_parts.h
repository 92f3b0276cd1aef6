#pragma once

#include <string>
#include <vector>

#include "tests/tamper/damages.h"

// What the kinds of damage share.

namespace coffer::tamper {

using testing::Chooser;
using Object = AgedStore::Object;
inline constexpr std::size_t kBlock = 4096;

ByteVector content_of(const std::string& path);
void put_content(const std::string& path, const ByteVector& content);

const Object& any(const std::vector<const Object*>& objects, Chooser& choose);
std::string directory_of(const std::string& backing);
std::string join(const std::string& directory, const std::string& name);
std::string name_of(const std::string& path);

/// Notes an object with all names of its file.
void touch(const AgedStore& store, const Object& object, Touched& touched);
Touched of(const AgedStore& store, const Object& object, const std::string& what);

// content_damages.cc: bytes within files, the keystore included.
Touched alter_bytes(const AgedStore& store, Chooser& choose);
Touched cut(const AgedStore& store, Chooser& choose);
Touched extend(const AgedStore& store, Chooser& choose);
Touched move_blocks(const AgedStore& store, Chooser& choose);
Touched put_back_bytes(const AgedStore& store, Chooser& choose);
Touched damage_keystore(const AgedStore& store, Chooser& choose);

}  // namespace coffer::tamper
