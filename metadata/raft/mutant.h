/*
 * mutant - planted defects, to prove that the simulator finds them. A build has none unless LARDER_MUTANT names one;
 * `make mutants` makes one build for each row. No check and no simulator may look at this.
 */
#ifndef METADATA_RAFT_MUTANT_H
#define METADATA_RAFT_MUTANT_H

/* name, what is done wrong */
#define MUTANT_TABLE(X)                                                                  \
	X(NONE, "nothing")                                                               \
	X(ACK_BEFORE_SYNC, "acknowledges entries that are not durable")                  \
	X(APPLY_PAST_DURABLE, "applies committed entries that are not durable here")     \
	X(FORGET_VOTE, "starts again without the vote it gave")                          \
	X(SKIP_NOOP, "takes changes before an entry of its term is committed (D5)")      \
	X(CONFIG_WRONG_INDEX, "records a change at the first index of its batch (D3)")   \
	X(COMMIT_OLD_TERM, "commits entries of older terms by counting")                 \
	X(TRUNCATE_COMMITTED, "cuts what stands behind an old append, committed or not") \
	X(SNAPSHOT_TRAILING, "compacts one entry more than asked")                       \
	X(SNAPSHOT_MEMBERS, "puts the last snapshot's membership into the next")         \
	X(DROP_SECOND, "drops the second entry of a proposal and says yes (D1)")         \
	X(COMPACT_VOLATILE, "compacts what was applied in memory")                       \
	X(READ_AFTER_STEP_DOWN, "answers waiting reads when leadership ends")            \
	X(READ_UNCONFIRMED, "answers reads without asking a majority")                   \
	X(CUT_DURABLE, "takes corruption in the log on disk for a torn tail")            \
	X(SEAL_MOVES_END, "takes a seal for a part of the log, not for a word on it")    \
	X(VOTE_WITH_HOLE, "votes while entries it acknowledged are lost")

enum mutant {
#define X(name, words) MUTANT_##name,
	MUTANT_TABLE(X)
#undef X
};

#ifndef LARDER_MUTANT
#define LARDER_MUTANT MUTANT_NONE
#endif

#define MUTANT(name) (LARDER_MUTANT == MUTANT_##name)

#endif
