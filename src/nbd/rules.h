/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the NBD guard holds, rule by rule. GUARD.md (section NBD) explains each; a test holds that
 * none is missing there, and another that each has a conversation that breaks it.
 */
#ifndef SEALIFT_NBD_RULES_H
#define SEALIFT_NBD_RULES_H

typedef enum NbdRule {
	/* both phases */
	NBD_RULE_TURN,
	NBD_RULE_MAGIC,
	NBD_RULE_CLOSED,
	/* handshake */
	NBD_RULE_GREETING,
	NBD_RULE_OPTION,
	NBD_RULE_OPTION_DATA,
	NBD_RULE_OPTION_REPLY,
	NBD_RULE_EXPORT,
	NBD_RULE_BLOCK_SIZE,
	/* requests */
	NBD_RULE_COMMAND,
	NBD_RULE_FLAGS,
	NBD_RULE_RANGE,
	NBD_RULE_LENGTH,
	NBD_RULE_COOKIE,
	NBD_RULE_IN_FLIGHT,
	/* replies */
	NBD_RULE_REPLY_COOKIE,
	NBD_RULE_REPLY_KIND,
	NBD_RULE_REPLY_RANGE,
	NBD_RULE_REPLY_STATUS,
	NBD_RULE_REPLY_ERROR,
	NBD_RULE_COUNT,
} NbdRule;

typedef struct NbdRuleText {
	const char *name;
	const char *holds;  /* one line */
	const char *closes; /* the published hole, or what QEMU does not look at */
} NbdRuleText;

const NbdRuleText *nbd_rule_text(NbdRule rule);

#endif
