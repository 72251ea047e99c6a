/*
 * haagent_fence: PostgreSQL refuses to commit past the permit of its node.
 *
 * The agent's keeper writes into a page of shared memory until when this node may accept commits. This library, loaded
 * by shared_preload_libraries, reads that page
 *
 *   - before the commit or prepare record of each transaction that has an xid: past the permit it fails;
 *   - after the record and after the wait for synchronous standbys, before the client hears of it: past the permit, or
 *     if that wait was cancelled, the connection is cut, so that nobody is told a success that a failover may undo.
 *
 * So it holds when agent and guard are killed or frozen, and after a thaw. Whatever is wrong with the page, nothing
 * commits. Outside its reach: read-only queries, recovery, single-user mode, pg_upgrade, and prepared transactions that
 * a logical replication worker finishes (no client is told about those).
 *
 * SHOW haagent_fence.state tells permit and counters as a JSON object.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"

/* Of a connection only the socket is used, its first member: no need for the headers of GSSAPI and OpenSSL. */
#undef ENABLE_GSS
#undef USE_OPENSSL
#include "libpq/libpq-be.h"

#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "port/atomics.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"

#ifndef CLOCK_BOOTTIME
#error "the commit fence counts by CLOCK_BOOTTIME, which is Linux's"
#endif

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * The page; haagent/guard/page.py is the other side and states the same layout.
 *
 * Two slots in the machine's byte order, written in turn: while one is being rewritten the other is whole, so that no
 * reader waits for a writer, not even for one that died half-way. The valid slot with the higher sequence counts. A
 * torn slot does not match its checksum; a page of an earlier boot does not match the boot id.
 */
typedef struct Slot
{
	char		magic[8];		/* SLOT_MAGIC */
	uint64		sequence;		/* one more with each write */
	int64		until_ns;		/* CLOCK_BOOTTIME; OPEN_ENDED: without end */
	int64		term;			/* creation revision of the leader key */
	uint8		boot_id[16];	/* /proc/sys/kernel/random/boot_id */
	uint64		reserved;		/* 0 */
	uint64		checksum;		/* FNV-1a, 64 bits, of the 56 bytes before */
} Slot;

StaticAssertDecl(sizeof(Slot) == 64, "the layout is shared with the writer");

#define SLOT_MAGIC	"HAFENCE1"
#define SLOTS		2
#define PAGE_BYTES	4096
#define OPEN_ENDED	PG_INT64_MAX
#define READ_TRIES	10

#define NS_PER_MS	INT64CONST(1000000)
#define NS_PER_S	INT64CONST(1000000000)

/* What the page says at an instant. */
typedef enum Permit
{
	HELD,
	WITHOUT_END,
	OVER,
	UNREADABLE
} Permit;

typedef struct Verdict
{
	Permit		permit;
	int64		term;
	int64		left_ns;		/* negative when OVER */
} Verdict;

/* Counted since the server started, and anew after a crash. */
typedef struct Counters
{
	pg_atomic_uint64 refused;	/* commits refused */
	pg_atomic_uint64 late;		/* acknowledgements withheld: the permit ended meanwhile */
	pg_atomic_uint64 unconfirmed;	/* acknowledgements withheld: the wait for standbys was cancelled */
} Counters;

static char *page_path = NULL;
static bool withhold_unconfirmed = true;
static char *state_placeholder = NULL;

static uint8 boot_id[16];
static bool boot_id_known = false;

/* Mapped by the postmaster and inherited; a backend maps anew when the file has been replaced. */
static volatile const Slot *page = NULL;
static dev_t page_device;
static ino_t page_inode;
static char page_problem[MAXPGPATH + 200] = "it was never looked at";

static Counters *counters = NULL;

/* About the present transaction. */
static bool wrote_wal = false;
static bool finishes_prepared = false;

static ProcessUtility_hook_type next_utility = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;
#if PG_VERSION_NUM >= 150000
static shmem_request_hook_type next_shmem_request = NULL;
#endif


/* ---------------------------------------------------------------- the page */

static void
read_boot_id(void)
{
	char		text[64] = {0};
	int			fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	int			digits = 0;

	if (fd < 0)
		return;
	if (read(fd, text, sizeof(text) - 1) > 0)
	{
		for (const char *c = text; *c && digits < 32; c++)
		{
			int			value;

			if (*c >= '0' && *c <= '9')
				value = *c - '0';
			else if (*c >= 'a' && *c <= 'f')
				value = *c - 'a' + 10;
			else
				continue;
			boot_id[digits / 2] = (uint8) (boot_id[digits / 2] << 4 | value);
			digits++;
		}
	}
	close(fd);
	boot_id_known = digits == 32;
}

/* Why a file cannot be the page, or NULL: only the agent's user and root may be able to write it. */
static const char *
unfit(const struct stat *file)
{
	if (!S_ISREG(file->st_mode))
		return "it is not a regular file";
	if (file->st_size < PAGE_BYTES)
		return "it is too short";
	if (file->st_uid != geteuid() && file->st_uid != 0)
		return "it belongs to another user";
	if (file->st_mode & (S_IWGRP | S_IWOTH))
		return "others may write to it";
	return NULL;
}

/* Map the file that now has the page's name; true if it is another one than is mapped. */
static bool
map_page(void)
{
	struct stat file;
	const char *problem;
	void	   *mapped = MAP_FAILED;
	int			fd;

	if (page_path == NULL || page_path[0] == '\0')
	{
		strlcpy(page_problem, "haagent_fence.page is not set", sizeof(page_problem));
		return false;
	}
	fd = open(page_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &file) != 0)
		problem = strerror(errno);
	else
		problem = unfit(&file);
	if (problem == NULL && page != NULL && file.st_dev == page_device && file.st_ino == page_inode)
	{
		close(fd);
		return false;
	}
	if (problem == NULL)
	{
		mapped = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
		if (mapped == MAP_FAILED)
			problem = strerror(errno);
	}
	if (fd >= 0)
		close(fd);
	if (problem != NULL)
	{
		snprintf(page_problem, sizeof(page_problem), "file \"%s\": %s", page_path, problem);
		return false;
	}
	if (page != NULL)
		munmap((void *) page, PAGE_BYTES);
	page = mapped;
	page_device = file.st_dev;
	page_inode = file.st_ino;
	return true;
}

static uint64
checksum(const Slot *slot)
{
	const uint8 *byte = (const uint8 *) slot;
	uint64		sum = UINT64CONST(0xcbf29ce484222325);

	for (size_t i = 0; i < offsetof(Slot, checksum); i++)
		sum = (sum ^ byte[i]) * UINT64CONST(0x100000001b3);
	return sum;
}

/* The newest whole slot; false when there is none. */
static bool
read_page(Slot *newest)
{
	bool		found = false;

	if (page == NULL || !boot_id_known)
		return false;
	for (int try = 0; try < READ_TRIES && !found; try++)
	{
		for (int i = 0; i < SLOTS; i++)
		{
			volatile const uint64 *from = (volatile const uint64 *) &page[i];
			union
			{
				uint64		words[sizeof(Slot) / sizeof(uint64)];
				Slot		slot;
			}			copy;

			for (size_t word = 0; word < lengthof(copy.words); word++)
				copy.words[word] = from[word];
			if (memcmp(copy.slot.magic, SLOT_MAGIC, sizeof(copy.slot.magic)) != 0 ||
				copy.slot.checksum != checksum(&copy.slot) ||
				memcmp(copy.slot.boot_id, boot_id, sizeof(boot_id)) != 0)
				continue;
			if (!found || copy.slot.sequence > newest->sequence)
				*newest = copy.slot;
			found = true;
		}
	}
	return found;
}

static Verdict
judge_mapped(void)
{
	Verdict		verdict = {UNREADABLE, 0, 0};
	Slot		slot;
	struct timespec now;

	if (!read_page(&slot))
	{
		if (!boot_id_known)
			strlcpy(page_problem, "/proc/sys/kernel/random/boot_id cannot be read", sizeof(page_problem));
		else if (page != NULL)
			snprintf(page_problem, sizeof(page_problem),
					 "file \"%s\" holds no permit that was written since this machine started", page_path);
		return verdict;
	}
	if (clock_gettime(CLOCK_BOOTTIME, &now) != 0)
	{
		strlcpy(page_problem, "CLOCK_BOOTTIME cannot be read", sizeof(page_problem));
		return verdict;
	}
	verdict.term = slot.term;
	if (slot.until_ns == OPEN_ENDED)
	{
		verdict.permit = WITHOUT_END;
		return verdict;
	}
	verdict.left_ns = slot.until_ns - ((int64) now.tv_sec * NS_PER_S + now.tv_nsec);
	verdict.permit = verdict.left_ns > 0 ? HELD : OVER;
	return verdict;
}

/*
 * What the page says now. Before that is bad news, or a permit that nothing ends, a file that has replaced the mapped
 * one is looked at: the agent writes to that one only.
 */
static Verdict
judge(void)
{
	Verdict		verdict = judge_mapped();

	if (verdict.permit != HELD && map_page())
		verdict = judge_mapped();
	return verdict;
}


/* ---------------------------------------------------------------- before the record */

static void
count(size_t which)
{
	if (counters != NULL)
		pg_atomic_fetch_add_u64((pg_atomic_uint64 *) ((char *) counters + which), 1);
}

static void
refuse_without_permit(const char *outcome)
{
	Verdict		verdict;

	if (!IsUnderPostmaster || IsBinaryUpgrade)
		return;
	verdict = judge();
	if (verdict.permit < OVER)
		return;
	count(offsetof(Counters, refused));
	if (verdict.permit == UNREADABLE)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("commit refused: this node's permit to accept commits cannot be read"),
				 errdetail("%s. %s", page_problem, outcome),
				 errhint("See that haagent runs on this node; \"haagent-ctl list\" names the present leader.")));
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("commit refused: this node's permit to accept commits ended %lld ms ago",
					(long long) (-verdict.left_ns / NS_PER_MS)),
			 errdetail("The permit belonged to term %lld. %s", (long long) verdict.term, outcome),
			 errhint("Connect to the present leader, which \"haagent-ctl list\" names, and try again there.")));
}

/*
 * Some statements do what no rollback undoes before their transaction ends, so they are judged before they begin:
 * COMMIT PREPARED and ROLLBACK PREPARED write their record, in a transaction without an xid of its own; those about
 * databases and tablespaces create and remove directories. In recovery the server itself refuses them.
 */
static void
on_utility(PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context,
		   ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	TransactionStmtKind kind;

	switch (nodeTag(statement->utilityStmt))
	{
		case T_TransactionStmt:
			kind = ((TransactionStmt *) statement->utilityStmt)->kind;
			if ((kind != TRANS_STMT_COMMIT_PREPARED && kind != TRANS_STMT_ROLLBACK_PREPARED) || RecoveryInProgress())
				break;
			refuse_without_permit("The prepared transaction is as it was.");
			finishes_prepared = true;
			break;
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
		case T_CreateTableSpaceStmt:
		case T_DropTableSpaceStmt:
			if (!RecoveryInProgress())
				refuse_without_permit("Nothing was done.");
			break;
		default:
			break;
	}
	if (next_utility)
		next_utility(statement, text, read_only_tree, context, parameters, environment, receiver, completion);
	else
		standard_ProcessUtility(statement, text, read_only_tree, context, parameters, environment, receiver,
								completion);
}


/* ---------------------------------------------------------------- after the record */

/*
 * End the connection without a word. The transaction stands, so this must not fail; the client learns that its outcome
 * is unknown, which is the truth.
 */
static void
withhold(size_t counter, const char *why)
{
	count(counter);
	if (MyProcPort != NULL)
	{
		shutdown(MyProcPort->sock, SHUT_RDWR);
		whereToSendOutput = DestNone;
		ProcDiePending = true;
		InterruptPending = true;
	}
	ereport(LOG,
			(errmsg("acknowledgement withheld: %s", why),
			 errdetail("The transaction is committed here, but a failover may undo it; its client is disconnected."),
			 errhint("Connect to the present leader and look whether the transaction is there before repeating it.")));
}

static bool
standbys_are_waited_for(void)
{
#ifdef SYNC_STANDBY_INIT
	bits8		status = *(volatile bits8 *) &WalSndCtl->sync_standbys_status;

	if (!(status & SYNC_STANDBY_INIT))	/* just started: the server goes by the setting, too */
		return SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0';
	return (status & SYNC_STANDBY_DEFINED) != 0;
#else
	return *(volatile bool *) &WalSndCtl->sync_standbys_defined;
#endif
}

/* Whether the record that ends at that position should have been waited for, and was not waited for to the end. */
static bool
wait_was_cancelled(XLogRecPtr end, bool prepares)
{
	int			mode;
	XLogRecPtr	confirmed;

	if (!withhold_unconfirmed || !wrote_wal || !SyncRepRequested() || !standbys_are_waited_for())
		return false;
	switch (synchronous_commit)
	{
		case SYNCHRONOUS_COMMIT_REMOTE_WRITE:
			mode = SYNC_REP_WAIT_WRITE;
			break;
		case SYNCHRONOUS_COMMIT_REMOTE_APPLY:
			mode = prepares ? SYNC_REP_WAIT_FLUSH : SYNC_REP_WAIT_APPLY;
			break;
		default:
			mode = SYNC_REP_WAIT_FLUSH;
	}
	/* It only grows, so what is confirmed needs no lock. */
	confirmed = *(volatile XLogRecPtr *) &WalSndCtl->lsn[mode];
	if (confirmed >= end)
		return false;
	LWLockAcquire(SyncRepLock, LW_SHARED);
	confirmed = WalSndCtl->lsn[mode];
	LWLockRelease(SyncRepLock);
	return confirmed < end;
}

static void
withhold_if_doubtful(bool prepares)
{
	/* Of a prepare record only the beginning is still known here. */
	XLogRecPtr	end = prepares ? ProcLastRecPtr + 1 : XactLastCommitEnd;

	if (!IsUnderPostmaster || IsBinaryUpgrade)
		return;
	if (judge().permit >= OVER)
		withhold(offsetof(Counters, late), "this node's permit to accept commits ended while it committed");
	else if (wait_was_cancelled(end, prepares))
		withhold(offsetof(Counters, unconfirmed),
				 "the wait for synchronous standbys was cancelled before they confirmed it");
}

static void
on_transaction(XactEvent event, void *unused)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
				refuse_without_permit("The transaction was rolled back.");
			/* As the server does: a transaction that has written nothing by now does not wait for standbys. */
			wrote_wal = XactLastRecEnd != InvalidXLogRecPtr;
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			if (finishes_prepared || TransactionIdIsValid(GetTopTransactionIdIfAny()))
				withhold_if_doubtful(event == XACT_EVENT_PREPARE);
			finishes_prepared = false;
			break;
		case XACT_EVENT_ABORT:
			finishes_prepared = false;
			break;
		default:
			break;
	}
}


/* ---------------------------------------------------------------- what it shows, and its start */

static const char *
show_state(void)
{
	static char text[256];
	static const char *const names[] = {"held", "without end", "over", "unreadable"};
	Verdict		verdict = judge();

	snprintf(text, sizeof(text),
			 "{\"permit\": \"%s\", \"term\": %lld, \"left_ms\": %lld,"
			 " \"refused\": %llu, \"late\": %llu, \"unconfirmed\": %llu}",
			 names[verdict.permit], (long long) verdict.term, (long long) (verdict.left_ns / NS_PER_MS),
			 (unsigned long long) (counters ? pg_atomic_read_u64(&counters->refused) : 0),
			 (unsigned long long) (counters ? pg_atomic_read_u64(&counters->late) : 0),
			 (unsigned long long) (counters ? pg_atomic_read_u64(&counters->unconfirmed) : 0));
	return text;
}

static void
on_shmem_request(void)
{
#if PG_VERSION_NUM >= 150000
	if (next_shmem_request)
		next_shmem_request();
#endif
	RequestAddinShmemSpace(MAXALIGN(sizeof(Counters)));
}

static void
on_shmem_startup(void)
{
	bool		found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	counters = ShmemInitStruct("haagent_fence", sizeof(Counters), &found);
	if (!found)
	{
		pg_atomic_init_u64(&counters->refused, 0);
		pg_atomic_init_u64(&counters->late, 0);
		pg_atomic_init_u64(&counters->unconfirmed, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("haagent_fence must be loaded by shared_preload_libraries, so that it sees every commit"),
				 errhint("haagent writes that setting by itself, unless its postgresql.commit_fence is off; restart "
						 "PostgreSQL with \"haagent-ctl restart\".")));

	DefineCustomStringVariable("haagent_fence.page", "File that holds this node's permit to accept commits.",
							   "Without a readable page, no transaction that writes can commit.",
							   &page_path, "", PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("haagent_fence.withhold_unconfirmed",
							 "Disconnect instead of acknowledging a commit whose wait for standbys was cancelled.",
							 NULL, &withhold_unconfirmed, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("haagent_fence.state", "Permit and counters of the commit fence, as JSON.", NULL,
							   &state_placeholder, "", PGC_INTERNAL, GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   NULL, NULL, show_state);
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved("haagent_fence");
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = on_shmem_request;
#else
	EmitWarningsOnPlaceholders("haagent_fence");
	on_shmem_request();
#endif
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = on_shmem_startup;
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
	RegisterXactCallback(on_transaction, NULL);

	read_boot_id();
	if (!map_page())
		ereport(WARNING,
				(errmsg("until the agent writes this node's permit, no commit is accepted: %s", page_problem),
				 errhint("Start haagent on this node; to run without it, take haagent_fence out of "
						 "shared_preload_libraries.")));
}
