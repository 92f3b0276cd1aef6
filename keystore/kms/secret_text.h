#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/crypto/secret_bytes.h"

namespace coffer {

/// Secrets in the text of requests and answers, which never pass through a std::string.

/// All of `parts`, one after the other.
SecretBytes secret_text(std::span<const Bytes> parts);
inline SecretBytes secret_text(std::initializer_list<Bytes> parts) {
  return secret_text(std::span(parts.begin(), parts.size()));
}

/// RFC 4648 section 4, with padding. Decoding refuses anything but the one text of the bytes
/// (kInvalid).
SecretBytes to_secret_base64(Bytes bytes);
Result<SecretBytes> from_secret_base64(Bytes text);

/// RFC 4648 section 5, without padding. Decoding as above.
SecretBytes to_secret_base64url(Bytes bytes);
Result<SecretBytes> from_secret_base64url(Bytes text);

/// As a value of application/x-www-form-urlencoded.
SecretBytes to_secret_form(Bytes text);

/// The bytes between the lines "-----BEGIN label-----" and END (RFC 7468). kInvalid if there are
/// none, or they are not all there is.
Result<SecretBytes> from_secret_pem(Bytes text, std::string_view label);

/// The contents of the one JSON string that is the value of a member `name`, at any depth; in
/// `json` asterisks stand in its place then, so that the rest can go through an ordinary parser.
/// The caller checks there that it was where it should be. Escapes are not undone. kInvalid if
/// there is no such member, more than one, or one with another value.
Result<SecretBytes> take_secret_member(MutableBytes json, std::string_view name);

/// Likewise of all members of that name, in their order; there may be none. kInvalid if one has
/// another value than a string, or some string does not end.
Result<std::vector<SecretBytes>> take_secret_members(MutableBytes json, std::string_view name);

/// Likewise, or empty where `json` does not hold the name.
Result<SecretBytes> take_secret_if_there(MutableBytes json, std::string_view name);

/// What a JSON string stands for, escapes undone. kInvalid for one that is not ASCII.
Result<SecretBytes> without_escapes(Bytes json_string);

/// True if it can stand between the quotes of a JSON string, or in a header, as it is: printable
/// ASCII but no quotes and no backslash.
bool is_plain_text(Bytes text);

/// What a server says of a failure, for people: no more than a line, and without words as long as a
/// token.
std::string without_secrets(std::string_view said);

}  // namespace coffer
