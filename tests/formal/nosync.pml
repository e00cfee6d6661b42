/* The no-sync contract between a filesystem and those who map its files, as a model for spin.
 *
 * One file of two blocks, mapped by two programs; another file that takes what becomes free; three blocks of media.
 * Program 0 does what a log does: block 0 durable, then block 1 faulted, filled and flushed, then a link from block 0
 * to block 1, flushed: acknowledged. Program 1 stores to block 1 as it likes and may die. Somebody punches block 1,
 * somebody writes to it by a system call, and the power goes at any moment: each line that was not flushed is then on
 * media or not.
 *
 * What is volatile and what is on media stand apart: live[] and dur[] for contents, *_live and *_dur for metadata.
 * Metadata has one running transaction, as jbd2 and xfs_log have; commit() makes all of it durable at once.
 *
 * PUNCH, WRITE, DEATH and THREAD add who takes part; with any of them every assertion holds. Each MUTANT_* leaves out
 * or moves one step of the contract, PLAIN is a mapping without MAP_SYNC; each must be refuted. check_model.py runs
 * them all.
 */

#define PHYS 3
#define NONE 3 /* no block */
#define B0 0
#define B1 1
#define MAPPERS 2
#ifdef THREAD
#define SECOND 0 /* the second program is a thread of the first: same page table */
#else
#define SECOND 1
#endif

/* Contents of a block. */
#define ZERO 0
#define NODE 1   /* block 0 before it has the link */
#define LINKED 2 /* block 0 with it */
#define DATA 3   /* block 1 */
#define SECRET 4 /* another file's */

#define OURS 1
#define OTHERS 2

byte live[PHYS] = SECRET; /* of earlier owners */
byte dur[PHYS] = SECRET;
byte owner[PHYS]; /* the allocator, in DRAM; 0: free */

byte map_live[2] = NONE;
byte map_dur[2] = NONE;
bit flag_live[2];
bit flag_dur[2];
byte other_live = NONE;
byte other_dur = NONE;

byte pte[4] = NONE; /* of program m for block b: m * 2 + b */
bit revoke[4];
bit dead[MAPPERS];
bit lock; /* the file's */

/* What was promised or asked for, to judge a crash by. */
bit acknowledged;
bit punch_asked;
bit write_returned;

inline commit()
{
    d_step {
        map_dur[0] = map_live[0];
        map_dur[1] = map_live[1];
        flag_dur[0] = flag_live[0];
        flag_dur[1] = flag_live[1];
        other_dur = other_live;
    }
}

inline reserve(p, whose)
{
    atomic {
        if
        :: owner[0] == 0 -> p = 0
        :: owner[1] == 0 -> p = 1
        :: owner[2] == 0 -> p = 2
        fi;
        owner[p] = whose
    }
}

inline zero_and_flush(p)
{
#ifndef MUTANT_NO_ZERO
    d_step { live[p] = ZERO; dur[p] = ZERO }
#else
    skip
#endif
}

/* Reserve, zero and flush, one transaction {map, flag}, commit, then the page-table entry. */
inline write_fault(m, b, p)
{
    atomic { !lock -> lock = 1 };
    if
    :: map_live[b] == NONE ->
        reserve(p, OURS);
        zero_and_flush(p);
#ifdef MUTANT_PTE_BEFORE_COMMIT
        pte[m * 2 + b] = (dead[m] -> NONE : p);
#endif
#ifdef MUTANT_FLAG_APART
        flag_live[b] = 1;
        commit();
#endif
        d_step { map_live[b] = p; flag_live[b] = 1 };
#ifndef PLAIN
        commit()
#endif
    :: else
    fi;
    d_step { pte[m * 2 + b] = (dead[m] -> NONE : map_live[b]); lock = 0 }
}

/* A store and a flush through a mapping; without an entry they fault first. */
inline store(m, b, value, p)
{
    do
    :: dead[m] -> break
    :: atomic { pte[m * 2 + b] != NONE -> live[pte[m * 2 + b]] = value; break }
    :: pte[m * 2 + b] == NONE -> write_fault(m, b, p)
    od
}

inline flush(m, b, p)
{
    do
    :: dead[m] -> break
    :: atomic { pte[m * 2 + b] != NONE -> dur[pte[m * 2 + b]] = live[pte[m * 2 + b]]; break }
    :: pte[m * 2 + b] == NONE -> write_fault(m, b, p)
    od
}

/* Every program has given up its entry, or is dead. */
inline zap(b)
{
#ifndef MUTANT_NO_ZAP
    revoke[0 * 2 + b] = 1;
    revoke[1 * 2 + b] = 1;
#ifndef MUTANT_NO_ACKNOWLEDGEMENT
    (pte[0 * 2 + b] == NONE || dead[0]);
    (pte[1 * 2 + b] == NONE || dead[1])
#endif
#else
    skip
#endif
}

/* ---- who takes part ---- */

active proctype program_0()
{
    byte p;

    store(0, B0, NODE, p);
    flush(0, B0, p);
    store(0, B1, DATA, p);
    flush(0, B1, p);
    store(0, B0, LINKED, p);
    flush(0, B0, p);
    skip;
    d_step { acknowledged = 1; p = 0 }
}

active proctype program_1()
{
    byte p;

    store(SECOND, B1, DATA, p);
    p = 0
}

/* The side of a mapping that answers revocations, in each program's kernel or library. */
active [MAPPERS] proctype revoker()
{
    byte m = _pid - 2;
    byte b;

end:
    do
    :: atomic { revoke[m * 2 + 0] -> pte[m * 2 + 0] = NONE; revoke[m * 2 + 0] = 0 }
    :: atomic { revoke[m * 2 + 1] -> pte[m * 2 + 1] = NONE; revoke[m * 2 + 1] = 0 }
    od
}

/* Death takes the address space away before anybody is told of it. */
#ifdef DEATH
active proctype death()
{
    atomic {
        !lock -> pte[2] = NONE;
        pte[3] = NONE;
        dead[1] = 1
    }
}

#endif

/* Lock, zap, one transaction {free, clear the flag}, commit, only then reuse. */
#ifdef PUNCH
active proctype punch()
{
    byte p;

    punch_asked = 1;
    atomic { !lock -> lock = 1 };
#ifndef MUTANT_ZAP_AFTER_FREE
    zap(B1);
#endif
    p = map_live[B1];
    if
    :: p != NONE ->
        d_step { map_live[B1] = NONE; flag_live[B1] = 0 };
#ifdef MUTANT_REUSE_BEFORE_COMMIT
        owner[p] = 0;
        commit()
#else
        commit();
        owner[p] = 0
#endif
    :: else
    fi;
#ifdef MUTANT_ZAP_AFTER_FREE
    zap(B1);
#endif
    d_step { lock = 0; p = 0 }
}

#endif

/* Zap, write, flush, commit, return. */
#ifdef WRITE
active proctype write_call()
{
    byte p;

    atomic { !lock -> lock = 1 };
    zap(B1);
    if
    :: map_live[B1] == NONE ->
        reserve(p, OURS);
        zero_and_flush(p);
        map_live[B1] = p
    :: else -> p = map_live[B1]
    fi;
    d_step { live[p] = DATA; dur[p] = DATA };
#ifndef MUTANT_WRITE_WITHOUT_COMMIT
    commit();
#endif
    d_step { lock = 0; write_returned = !punch_asked; p = 0 }
}

#endif

/* The next owner of whatever is free. */
active proctype other_file()
{
    byte p;

    reserve(p, OTHERS);
    zero_and_flush(p);
    d_step { live[p] = SECRET; dur[p] = SECRET; other_live = p };
    commit();
    /* No stale store into a reused block. */
    assert(live[p] == SECRET);
    assert(live[p] == SECRET)
}

#ifdef PLAIN
/* Metadata gets to media when the journal likes. */
active proctype journal()
{
    commit();
    commit()
}
#endif

/* Power may go now: the judgement changes nothing, so one look at each state is enough. A block whose lines were not
 * flushed reads as before or as after, whichever is worse. */
#define MAY_BE(p, value) (dur[p] == value || live[p] == value)
#define IS(p, value) (dur[p] == value && live[p] == value)

active proctype power_cut()
{
end:
    do
    :: d_step {
           /* No durable link to a missing block, and nothing acknowledged is lost. */
           assert(punch_asked || map_dur[B0] == NONE || !MAY_BE(map_dur[B0], LINKED) ||
                  (map_dur[B1] != NONE && IS(map_dur[B1], DATA)));
           assert(!acknowledged || (map_dur[B0] != NONE && IS(map_dur[B0], LINKED)));
           assert(!write_returned || punch_asked || map_dur[B1] != NONE);
           /* A flag stands for a committed block. */
           assert(!flag_dur[B0] || map_dur[B0] != NONE);
           assert(!flag_dur[B1] || map_dur[B1] != NONE);
           /* One owner each, and nobody reads another's data. */
           assert(map_dur[B0] == NONE ||
                  (map_dur[B0] != map_dur[B1] && map_dur[B0] != other_dur));
           assert(map_dur[B1] == NONE || map_dur[B1] != other_dur);
           assert(map_dur[B0] == NONE || !MAY_BE(map_dur[B0], SECRET));
           assert(map_dur[B1] == NONE || !MAY_BE(map_dur[B1], SECRET));
           assert(other_dur == NONE || IS(other_dur, SECRET))
       }
    od
}
