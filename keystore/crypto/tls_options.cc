#include "keystore/crypto/tls_options.h"

#include <openssl/ssl.h>

namespace coffer {

void wipe_tls_plaintext(void* context) {
  ::SSL_CTX_set_options(static_cast<SSL_CTX*>(context), SSL_OP_CLEANSE_PLAINTEXT);
}

}  // namespace coffer
