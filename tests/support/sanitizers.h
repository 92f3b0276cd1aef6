#pragma once

/// 1 where the address or the thread sanitizer watches, and stands between the program and the C
/// library.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COFFER_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COFFER_SANITIZED 1
#endif
#endif
#ifndef COFFER_SANITIZED
#define COFFER_SANITIZED 0
#endif
