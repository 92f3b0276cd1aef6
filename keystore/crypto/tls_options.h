#pragma once

namespace coffer {

/// Has a TLS connection overwrite what it has decrypted as soon as it was read. `context` is the
/// SSL_CTX that a library above OpenSSL (libcurl) is about to use.
void wipe_tls_plaintext(void* context);

}  // namespace coffer
