#include "keystore/crypto/rsa_signature.h"

#include <gtest/gtest.h>

#include "tests/support/vectors.h"

namespace coffer {
namespace {

/// PrivateKeyInfos, made for this test by openssl(1) and used for nothing else.
constexpr const char* kRsaKey =
    "MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC-IGIW02PNa3e3OV3Qn_uoae-"
    "1GZqfyk4awUPAwGThk2iQOBLNU1vLVTGTzb0uz1dKoCU8JPQtrxmNvLvd8ZtluACFxU2Q7poMRL8rKRd-uWlcy1i_oyJ"
    "Je5cKJniDjYPPqKxWMKpIN_fTjmHFc4ckfpYTckSapdgvBtZdlcP38o1STYUNczfLhoevUUrXeeYiubYOyufc5sJ3Ogp"
    "EfRGgrbf4I7ky6dETnkdzwfnZnXk13ny4REX0y3tey26wHyO0AHSovtetMYf5kXFu9sHUaHr1htRNnbo2OUukeXZJ02c"
    "VRo6YZAtnqo8PBcbOuJALJW26TETHOWiVVvUGhLGBAgMBAAECggEABqM6yXE32sQVud_W1qG_N3H7XGc4bruxXl3A78n"
    "Hu9hZni9W-LQgUEj5Ih_cqvWyJnjQ0_i2TaH_UmN0a5szwala21C4FIc_-"
    "Y2s3uTgXRw8AXFX99jKKaaW71PIgU8_etB4s8mfKEZL8KbX4vzViwCgXK1wl7WShpHGih3gaZeOw4_VTHMkqgvw5gtKG"
    "ua9YldWUvIJV0ruPdWXZk85KmMz-"
    "3EkOjr9uq8O6oUjyhRFBs8CB6B056Ctriicjq6dhUE_3TFoDsdXWiKw2c08tb3Kj6BGbDSHen-"
    "6mledfbroMIsLKvKbu3lrnIS4vJufhq6KZR3VyricIqsN8PFFAQKBgQDu0HuETIyhEcXofEo5ufcZ8W9qGJurMsb6euh"
    "gJoULrA13P-JHRdIyAz5Q_3dLzTUPLkWLNh9btLUKdqn585RCn0BiUi1EO6isKlLgwGRi7OkYBUmAReCEydOqST3g-"
    "mfzsJPsTIds6wrT3pKL26Qw0xIgOs0m95T5-"
    "crTo6shFQKBgQDLzvTQ1XBPbn7zHfi6fhZ1PxVpPqXOav0l4tPDo35ZBSTpJqzlBHPSWFe6Tj5WamMkwx44X9odQwsbG"
    "1fA5kHnzxHZOch8Jmm9NfPv9JqX25TVzQNdYAYx86WBy8SNjSMuFZEZke3GFgFmYonqPcfTUyUVl6N9hmwrG6NVwAdxv"
    "QKBgHvyHIk3qa1XKh5Vk7iOOh9u3WJ1TyX1fqw16jEtDNRYAc0ojOps5IEsicVEMchXwvgUDegIuRHBokzB9cpSj1pci"
    "O_-spu9Uve4J7eaYv-"
    "s8fWTmOhIXBTPI1o4FTOVAyrJNJzpw0fWXZJE7E5GOttUUQ4FNsDIsrti19AsG_9ZAoGBAKxNhS_gopikw_LpzdRssLP"
    "i50kYy7idPvN-tqVZXYIJFVF_fwAHKZwVT-WULKOGQddclfn3H0FJ4uPB1AijIejGaUKK1XIQT6jFKjwdQW1NGKFAN64"
    "DdnlYkP4QtVUukyVs2kUR2EF1bS2P9STxojSIwHtmvbNrp5syPH5MYH7JAoGBAIQaab3I19IyBTX2ZpIQ1J92rw4RdDA"
    "-muZK7JytpAknzo_eAiginbwlpxHveAemgu-jy1oNM3Q5xj6BJ3dIRIIN5YCoWpUeqxAKE_lyDeg5oCJ46cEUnjui3o3"
    "ZmLWp2F9koYF5ZQ_LrMfLSznbpA0oYuaTB5qCjvnyGu558ves";
constexpr const char* k1024Bits =
    "MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAM6RidclEVxXPRZVa-"
    "kF8OBmw1xSlx_K3ZO6A2VPpcdbK5JSrqQFUbsdBfAQaY2gK2ajjCQOpw9zK6NRXbsk7n-MVD5IJFh9_x-"
    "EgLEIoiSzYO0y9K4heScxmAOfgGSMMrHx1Tm-I-rQlmyT3ksIiyMmbqE-PF_A0UJDTu9xhiYZAgMBAAECgYAiwaQyuf7"
    "wzZDuuBK_E4vTBhdq6k6ZP9YGbC70FfGr2HA9X4IZAPgehqSgHvLTrJaA35XN31VGqTc3dJJT0cP7DormsKXOcVhR664"
    "-yAeM4Mm3-"
    "6fCcTdqc_47vk7DXnxIUDvzFVFKDRqsF59YE25OLxsXT4oQ76fyLewk5GYKgQJBAPObAzmOEFt44bDqymXYPet3oiB9N"
    "q5gXZMfGeu5iKjlGdQU5hE9h6QSm-U4BWwxuBFya-WbSlwGBvx4hGx8AzECQQDZFB1rw3Ufms3zJ7VRvB0NLFh7blcuJ"
    "jy2k9lqW1q1sTe2Y4DBENcmjgx6qMlFvuc678FMnjGbeD006FJaGodpAkA7TVchobXVrr2yZdXTqSqZscvkANdY59ifw"
    "gh7W_UquGrrOBMxyzrD9EvDJzoatpfKl4IwqPcXI9h7iZMjHaVhAkEAhWjkT_dWwu6rxdVQjQP0QsVPN8RvVdBwHbEtv"
    "DyaufFJERGD7qN_5pUEPFoBIJkbmNACVykdybOSwjJJclC9iQJBAI5Q0XgnWp30L7BHiL9-"
    "fi71Rg_GtCFWbzA9pPez3-oMNU_Xn4k6KQ-pAexB6PQD8J2MSOn4mWc-MjhxeE0dtVM";
constexpr const char* kEllipticCurve =
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWP0I1NF4uNJ_Hbr3W9GNKc354OWdayDAnsVUov9JogKh"
    "RANCAASox-gDS9_u-UBAWbVPwE_YtQ-m3ek-EO779uipu37i-_AKpAVsbwXkGOzwwV7zxHjdi09g-UcDWupcdT99S2R2";
/// By `openssl dgst -sha256 -sign`, of kRsaMessage.
constexpr const char* kRsaSignature =
    "a95e4b1d283fc05e46086dcf52898ef7caba2222fcbf4c0745896ccad465d818b2b345e22fc9822d2d3f040693c0"
    "7c7ae98f39bde557689380c62b2e168712ef8cd23ae7311131bce1b1727781e5cabff5cb25d6de6743f7d8e2dc8d"
    "4ca497c70395af0d3343a5c00a054d624563eda269aadccb66caa7756ced527b4ce0f8baccb5af173fdbc0e20893"
    "0d5b9eeeaa2269913d8d406b375be23834f65708cf5d69e19297f775441caff9f065c10ac38ecced02c6b433b76c"
    "eaa5a9df26d554e2775a82e29e937bc4d5c5362369b9f8c9c553bd7ecde1f1fc37731e0573ad02adc8c855ea2bc2"
    "d5908b12df527b050074b4f6ca51763aef8eecb084e8e93f1c89";
constexpr const char* kRsaMessage = "header.claims";

ByteVector der(const char* text) { return *from_base64url(text); }

Code refusal(const ByteVector& key) {
  const auto signature = rs256_sign(key, as_bytes(kRsaMessage));
  EXPECT_FALSE(signature.ok());
  return signature ? Code::kIo : signature.error().code;
}

TEST(Rs256, TheSignatureThatOpensslMakes) {
  const auto signature = rs256_sign(der(kRsaKey), as_bytes(kRsaMessage));
  ASSERT_TRUE(signature.ok()) << signature.error().message();
  EXPECT_EQ(to_hex(*signature), kRsaSignature);
  EXPECT_NE(to_hex(*rs256_sign(der(kRsaKey), as_bytes("another"))), kRsaSignature);
}

TEST(Rs256, KeysThatAreNone) {
  EXPECT_EQ(refusal({}), Code::kInvalid);
  EXPECT_EQ(refusal(der(k1024Bits)), Code::kInvalid);
  EXPECT_EQ(refusal(der(kEllipticCurve)), Code::kInvalid);
  const ByteVector key = der(kRsaKey);
  for (std::size_t length = 0; length < key.size(); ++length)
    EXPECT_EQ(refusal({key.begin(), key.begin() + static_cast<std::ptrdiff_t>(length)}),
              Code::kInvalid);
  ByteVector longer = key;
  longer.push_back(0);
  EXPECT_EQ(refusal(longer), Code::kInvalid);
}

/// Whatever the key is, nothing but a refusal or a signature comes of it.
TEST(Rs256, KeysThatAreDamaged) {
  const ByteVector key = der(kRsaKey);
  for (std::size_t at = 0; at < key.size(); at += at < 40 ? 1 : 37) {
    for (const int change : {0x01, 0x80, 0xff}) {
      ByteVector damaged = key;
      damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ change);
      const auto signature = rs256_sign(damaged, as_bytes(kRsaMessage));
      if (!signature) {
        EXPECT_EQ(signature.error().code, Code::kInvalid) << at;
      }
    }
  }
}

}  // namespace
}  // namespace coffer
