/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/cold_boot.h"

#include "engine/disk_keys.h"
#include "engine/keys.h"
#include "engine/sealed_disks.h"
#include "engine/vm_tpm.h"

enum { START_DEADLINE_MS = 120000 };

/* The job may end, or be undone, before key manager and hypervisor answer. */
struct ColdBoot {
	Engine *engine;
	uint64_t job;
	DiskKeys *disks;
	TpmKeys *tpm;
	char who[KEY_WHO_SIZE];
};

/* NULL: nobody waits for it any more. */
static Job *job_of_boot(const ColdBoot *boot)
{
	Job *job = job_find(boot->engine, boot->job);

	return job && job->cold_boot == boot ? job : NULL;
}

static void end(ColdBoot *boot, const Error *err)
{
	Job *job = job_of_boot(boot);

	/* The hypervisor has read the values, or never will. */
	disk_keys_free(boot->disks);
	tpm_keys_free(boot->tpm);
	free(boot);
	if (!job)
		return;
	job->cold_boot = NULL;
	migration_on_hv_done(job->migration, HV_BOOT, err);
	job_settle(job);
}

static void on_started(void *context, const Error *err)
{
	ColdBoot *boot = context;
	const Job *job = job_of_boot(boot);
	const Error why = job && job->vm ? sealed_disks_failure(job->vm) : ERROR_INIT;
	Error failure = ERROR_INIT;

	if (!err && boot->tpm && !tpm_keys_used(boot->tpm, &failure))
		log_warning(boot->engine->log, "%s: %s", boot->who, failure.text);
	/* The hypervisor only tells that nobody served its disk. */
	end(boot, err && why.category ? &why : err);
}

/* What stands here, whatever is to become of it: how its disks travel is the migration's affair.
 * All of sealed pools are served, so that they can be copied: those of a VM that came and was not
 * started since, and those that are owed another key, which nobody makes meanwhile. */
static bool resolve(const Vm *vm, ResolvedVm *ret_resolved, Error *err)
{
	const Resources *resources = &vm->engine->config.resources;
	const char *domain = vm->record.pools_of[0] ? vm->record.pools_of : NULL;
	AUTO_FREE Manifest *here = malloc(sizeof(*here));

	if (!here)
		return error_set(err, ERROR_INTERNAL, "no memory to start a VM");
	*here = vm->record.manifest;
	for (size_t i = 0; i < here->disks_count; i++) {
		here->disks[i].transfer = DISK_STAYS;
		here->disks[i].stored_bytes = 0;
	}
	if (!resources_resolve(resources, here, domain, NULL, ret_resolved, err))
		return false;
	for (size_t i = 0; i < here->disks_count; i++) {
		Error ignored = ERROR_INIT;
		const PoolResource *pool =
			resources_find_pool(resources, here->disks[i].pool, domain, &ignored);

		ret_resolved->disks[i].served = pool && pool->sealed;
	}
	return true;
}

static bool spawn(ColdBoot *boot, Error *err)
{
	Job *job = job_of_boot(boot);
	Vm *vm = job ? job->vm : NULL;
	AUTO_RESOLVED_VM ResolvedVm resolved = RESOLVED_VM_INIT;
	VmmStart start = { .resources = &boot->engine->config.resources,
			   .vm = &resolved,
			   .frozen = true,
			   .deadline_ms = START_DEADLINE_MS };

	if (!vm)
		return error_set(err, ERROR_CANCELLED, "the migration has ended");
	vm_new_instance(&vm->record);
	start.instance = vm->record.instance;
	/* Before there is a process: a restart finds it by this. */
	if (!vm_save(vm, err) || !resolve(vm, &resolved, err))
		return false;
	if (boot->disks)
		disk_keys_give(boot->disks, &resolved);
	if (boot->tpm)
		tpm_keys_give(boot->tpm, &resolved);
	vm->handle = vmm_start(&vmm_driver_qemu, boot->engine->base, &start, &vm_events, vm,
			       on_started, boot, err);
	if (vm->handle)
		sealed_disks_start(vm, &resolved);
	return vm->handle;
}

static void on_tpm_keys(void *context, const Error *err)
{
	ColdBoot *boot = context;
	Error failure = err ? *err : ERROR_INIT;

	if (err || !spawn(boot, &failure))
		end(boot, &failure);
}

static bool ask_tpm_keys(ColdBoot *boot, Error *err)
{
	Job *job = job_of_boot(boot);
	const TpmKeysWanted wanted = { .manifest = job ? &job->vm->record.manifest : NULL,
				       .owner = job ? job->vm->record.owner : NULL,
				       .epoch = job ? job->vm->record.epoch : 0,
				       .who = boot->who };

	if (!job)
		return error_set(err, ERROR_CANCELLED, "the migration has ended");
	boot->tpm = tpm_keys_new(boot->engine, &wanted, on_tpm_keys, boot, err);
	return boot->tpm;
}

/* What is left to be asked for, or all is here. */
static bool go_on(ColdBoot *boot, Error *err)
{
	const Job *job = job_of_boot(boot);

	return job && job->vm->record.manifest.tpm ? ask_tpm_keys(boot, err) : spawn(boot, err);
}

static void on_disk_keys(void *context, const Error *err)
{
	ColdBoot *boot = context;
	Error failure = err ? *err : ERROR_INIT;

	if (err || !go_on(boot, &failure))
		end(boot, &failure);
}

bool cold_boot(Job *job, Error *err)
{
	ColdBoot *boot = calloc(1, sizeof(*boot));
	DiskKeysWanted wanted = { .manifest = &job->vm->record.manifest,
				  .epoch = job->vm->record.epoch };
	bool ok;

	if (!boot)
		return error_set(err, ERROR_INTERNAL, "no memory to start a VM");
	boot->engine = job->engine;
	boot->job = job->serial;
	keys_migration(migration_record(job->migration), boot->who);
	wanted.who = boot->who;
	if (job->engine->keys)
		wanted.without =
			resources_maybe_luks(&job->engine->config.resources, wanted.manifest);
	job->cold_boot = boot;
	if (disk_keys_needed(&wanted)) {
		boot->disks = disk_keys_new(job->engine, &wanted, on_disk_keys, boot, err);
		ok = boot->disks != NULL;
	} else {
		ok = go_on(boot, err);
	}
	if (ok)
		return true;
	job->cold_boot = NULL;
	tpm_keys_free(boot->tpm);
	free(boot);
	return false;
}

void cold_boot_forget(Job *job)
{
	job->cold_boot = NULL;
}
