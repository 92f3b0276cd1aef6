#pragma once

/// A PKCS#11 module that does what SoftHSM does, until it is told to fail. What a test finds in it
/// by dlsym.

extern "C" {

/// The next `times` uses of keys end with `outcome` (a CK_RV), the token unasked.
void fail_uses(unsigned long outcome, unsigned times);
/// The next `times` sessions are refused with `outcome`.
void fail_sessions(unsigned long outcome, unsigned times);
/// Uses of keys wait from `hold_uses(true)` until `hold_uses(false)`.
void hold_uses(bool held);
/// How often somebody logged in, or tried to.
unsigned logins();
}
