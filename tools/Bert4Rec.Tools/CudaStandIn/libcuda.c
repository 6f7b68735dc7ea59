// A stand-in for NVIDIA's driver, for tests: what ILGPU calls of it, on the memory of the host; StartupHook.cs gives the kernels to the
// emulator. It is as late as a driver may be: what a queue is given is done when something waits for that queue, so that whoever forgets to
// wait finds nothing done. A kernel's error comes then too, and stays: every later call in the context ends in it.
//
// $BERT4REC_STAND_IN is a list, such as "devices=2,alloc=5": capability (80), driver (12020), multiprocessors (108), devices (1), memory of a
// device in bytes (16 GiB); and what is to fail, by its number from 1 on: init (with that error), alloc (out of memory), module (no PTX of
// its kind), refuse (a launch, at once), launch (a kernel, while it runs).

#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, STUB_LIBRARY = 34, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, INVALID_PTX = 218, INVALID_HANDLE = 400, NOT_FOUND = 500, OUT_OF_RESOURCES = 701, LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801 };

typedef struct { int64_t start, end, allocation; } Range;

// Both return 0, or write why not. A module is called by what the first of them writes to id.
typedef int (*LoadModule)(const char *ptx, int *id, char *why, int whyBytes);
typedef int (*RunKernel)(int id, const int *gridAndGroup, const void *parameters, int bytes, const Range *memory, int ranges, char *why,
    int whyBytes);

static LoadModule loadModule;
static RunKernel runKernel;

void standInConnect(LoadModule load, RunKernel run) {
    loadModule = load;
    runKernel = run;
}

// What a handle points to says what it is; it stays when it is destroyed, so that no other gets its address.
typedef enum { DEAD, CONTEXT, STREAM, MODULE, FUNCTION } Kind;

typedef struct Operation {
    struct Operation *next;
    struct Function *kernel;
    int gridAndGroup[4];
    void *target;
    const void *source;
    int value;
    size_t bytes;
    char data[];
} Operation;

typedef struct { Kind kind; Operation *first, **end; } Stream;
typedef struct { Kind kind; int id; char *ptx; } Module;
typedef struct Function { Kind kind; Module *module; } Function;
typedef struct Context { Kind kind; int device, error; Stream *streams[64]; int streamCount; } Context;
typedef struct Allocation { char *start; size_t bytes; Context *context; struct Allocation *next; } Allocation;

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static __thread Context *current;
static Allocation *allocations;
static size_t taken[64];
static int initialized;
static char failure[2000] = "unspecified launch failure";

// Device memory lies in a part of the address space of its own, and no address is given twice: a stale pointer is known for one.
static const size_t SpaceBytes = (size_t)1 << 40;
static char *space;
static size_t spaceUsed;

static int64_t setting(const char *name, int64_t otherwise) {
    const char *list = getenv("BERT4REC_STAND_IN");
    size_t length = strlen(name);
    for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : 0)
        if (!strncmp(at, name, length) && at[length] == '=')
            return atoll(at + length + 1);
    return otherwise;
}

// Counts calls, up to the one that is to fail.
static int fails(const char *name, int *count) { return ++*count == setting(name, 0); }

static size_t memorySize(void) { return (size_t)setting("memory", (int64_t)16 << 30); }

static int is(const void *handle, Kind kind) { return handle && *(const Kind *)handle == kind; }

static void *make(Kind kind, size_t bytes) {
    Kind *made = calloc(1, bytes);
    *made = kind;
    return made;
}

static int isOfDevice(const void *address) { return space && (char *)address >= space && (char *)address < space + SpaceBytes; }

static Allocation *allocationOf(const void *address, size_t bytes) {
    for (Allocation *a = allocations; a; a = a->next)
        if ((char *)address >= a->start && (char *)address + bytes <= a->start + a->bytes)
            return a;
    return 0;
}

// The memory that the arguments name: whatever in them is an address of some.
static int launch(Context *context, Operation *launched, char *why, int whyBytes) {
    Range memory[64];
    int ranges = 0;
    for (size_t i = 0; i + sizeof(char *) <= launched->bytes && ranges < 64; i += sizeof(char *)) {
        Allocation *named = allocationOf(*(char **)(launched->data + i), 1);
        if (named && named->context == context)
            memory[ranges++] = (Range){ (int64_t)named->start, (int64_t)(named->start + named->bytes), (int64_t)named->start };
    }
    return runKernel(launched->kernel->module->id, launched->gridAndGroup, launched->data, (int)launched->bytes, memory, ranges, why, whyBytes);
}

// Does what was asked of a queue.
static int finish(Context *context, Stream *stream) {
    static int launches;
    for (Operation *next; (next = stream->first); free(next)) {
        stream->first = next->next;
        if (context->error)
            continue;
        if (!next->kernel) {
            if (next->value >= 0)
                memset(next->target, next->value, next->bytes);
            else
                memmove(next->target, next->source ? next->source : next->data, next->bytes);
        } else if (fails("launch", &launches) || launch(context, next, failure, sizeof failure)) {
            context->error = LAUNCH_FAILED;
        }
    }
    stream->end = &stream->first;
    return context->error;
}

static int finishAll(Context *context) {
    for (int i = 0; i < context->streamCount; i++)
        finish(context, context->streams[i]);
    return context->error;
}

static Stream *newStream(Context *context) {
    Stream *stream = make(STREAM, sizeof *stream);
    stream->end = &stream->first;
    return context->streams[context->streamCount++] = stream;
}

static Operation *add(Stream *stream, size_t dataBytes) {
    Operation *added = calloc(1, sizeof *added + dataBytes);
    added->value = -1;
    *stream->end = added;
    stream->end = &added->next;
    return added;
}

static int unlock(int result) {
    pthread_mutex_unlock(&gate);
    return result;
}

// Takes the lock and the thread's context; ends the call where that has failed.
#define ENTER() \
    pthread_mutex_lock(&gate); \
    if (!initialized) return unlock(NOT_INITIALIZED); \
    if (!is(current, CONTEXT)) return unlock(INVALID_CONTEXT); \
    if (current->error) return unlock(current->error)
#define REQUIRE(condition, error) if (!(condition)) return unlock(error)

int cuInit(int flags) {
    (void)flags;
    int error = (int)setting("init", loadModule ? SUCCESS : STUB_LIBRARY);
    if (!error && setting("devices", 1) == 0)
        error = NO_DEVICE;
    initialized = !error;
    return error;
}

int cuDriverGetVersion(int *version) {
    *version = (int)setting("driver", 12020);
    return SUCCESS;
}

int cuDeviceGetCount(int *count) {
    *count = (int)setting("devices", 1);
    return initialized ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < setting("devices", 1) ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, (size_t)length, "stand-in %d", device);
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = memorySize();
    return SUCCESS;
}

// An A100's, by the numbers that CUDA gives attributes; of what is not here, 0.
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    static const int values[128] = { [1] = 1024, [2] = 1024, [3] = 1024, [4] = 64, [5] = 2147483647, [6] = 65535, [7] = 65535, [8] = 49152,
        [9] = 65536, [10] = 32, [11] = 2147483647, [12] = 65536, [13] = 1410000, [18] = 1, [19] = 1, [31] = 1, [36] = 1215000, [37] = 5120,
        [38] = 41943040, [39] = 2048, [40] = 3, [41] = 1, [81] = 167936, [82] = 65536, [83] = 1, [90] = 1 };
    if (attribute < 1 || attribute >= 128)
        return INVALID_VALUE;
    int capability = (int)setting("capability", 80);
    *value = attribute == 16 ? (int)setting("multiprocessors", 108) : attribute == 33 ? device + 1
        : attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : values[attribute];
    return SUCCESS;
}

int cuDeviceCanAccessPeer(int *can, int device, int peer) {
    *can = device == peer;
    return SUCCESS;
}

int cuCtxCreate_v2(Context **context, int flags, int device) {
    (void)flags;
    if (!initialized || device >= setting("devices", 1))
        return initialized ? INVALID_DEVICE : NOT_INITIALIZED;
    current = make(CONTEXT, sizeof *current);
    current->device = device;
    newStream(current);
    *context = current;
    return SUCCESS;
}

int cuCtxDestroy_v2(Context *context) {
    if (!is(context, CONTEXT))
        return INVALID_CONTEXT;
    pthread_mutex_lock(&gate);
    int error = finishAll(context);
    context->kind = DEAD;
    return unlock(error);
}

int cuCtxSetCurrent(Context *context) {
    if (context && !is(context, CONTEXT))
        return INVALID_CONTEXT;
    current = context;
    return SUCCESS;
}

int cuCtxSynchronize(void) {
    ENTER();
    return unlock(finishAll(current));
}

int cuCtxGetCacheConfig(int *value) { return *value = SUCCESS; }
int cuCtxSetCacheConfig(int value) { return (void)value, SUCCESS; }
int cuCtxGetSharedMemConfig(int *value) { return *value = SUCCESS; }
int cuCtxSetSharedMemConfig(int value) { return (void)value, SUCCESS; }

int cuMemGetInfo_v2(size_t *available, size_t *total) {
    ENTER();
    *total = memorySize();
    *available = *total - taken[current->device];
    return unlock(SUCCESS);
}

// Full of what makes floats NaN and integers −1.
int cuMemAlloc_v2(char **address, size_t bytes) {
    static int count;
    ENTER();
    REQUIRE(bytes > 0, INVALID_VALUE);
    if (!space)
        space = mmap(0, SpaceBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t pages = (bytes + 4095) / 4096 * 4096;
    int none = fails("alloc", &count) || bytes > memorySize() - taken[current->device] || spaceUsed + pages > SpaceBytes;
    REQUIRE(!none && !mprotect(space + spaceUsed, pages, PROT_READ | PROT_WRITE), OUT_OF_MEMORY);
    Allocation *made = malloc(sizeof *made);
    *made = (Allocation){ space + spaceUsed, bytes, current, allocations };
    allocations = made;
    memset(*address = made->start, 0xFF, bytes);
    // A page that nothing may touch parts it from the next.
    spaceUsed += pages + 4096;
    taken[current->device] += bytes;
    return unlock(SUCCESS);
}

int cuMemFree_v2(char *address) {
    ENTER();
    if (finishAll(current))
        return unlock(current->error);
    Allocation **place = &allocations;
    while (*place && (*place)->start != address)
        place = &(*place)->next;
    REQUIRE(*place, INVALID_VALUE);
    Allocation *freed = *place;
    *place = freed->next;
    taken[freed->context->device] -= freed->bytes;
    mmap(freed->start, freed->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    free(freed);
    return unlock(SUCCESS);
}

static Stream *streamOf(Stream *stream) { return stream ? stream : current->streams[0]; }

// What comes from the host's memory is read at once, and what goes there waits for the queue: so it is with memory that is not page-locked.
int cuMemcpyAsync(void *target, const void *source, size_t bytes, Stream *stream) {
    ENTER();
    stream = streamOf(stream);
    REQUIRE(is(stream, STREAM), INVALID_HANDLE);
    int toDevice = isOfDevice(target), fromDevice = isOfDevice(source);
    REQUIRE((!toDevice || allocationOf(target, bytes)) && (!fromDevice || allocationOf(source, bytes)), INVALID_VALUE);
    if (!toDevice) {
        if (!finish(current, stream))
            memmove(target, source, bytes);
        return unlock(current->error);
    }
    Operation *copy = add(stream, fromDevice ? 0 : bytes);
    copy->target = target;
    copy->bytes = bytes;
    if (fromDevice)
        copy->source = source;
    else
        memcpy(copy->data, source, bytes);
    return unlock(SUCCESS);
}

int cuMemsetD8Async(void *target, unsigned char value, size_t bytes, Stream *stream) {
    ENTER();
    stream = streamOf(stream);
    REQUIRE(is(stream, STREAM), INVALID_HANDLE);
    REQUIRE(allocationOf(target, bytes), INVALID_VALUE);
    Operation *set = add(stream, 0);
    set->target = target;
    set->value = value;
    set->bytes = bytes;
    return unlock(SUCCESS);
}

int cuStreamCreate(Stream **stream, int flags) {
    ENTER();
    // Without that flag, it would wait for the default queue at times, and that for it.
    REQUIRE(flags == 1 && current->streamCount < 64, NOT_SUPPORTED);
    *stream = newStream(current);
    return unlock(SUCCESS);
}

int cuStreamDestroy_v2(Stream *stream) {
    ENTER();
    REQUIRE(is(stream, STREAM), INVALID_HANDLE);
    finish(current, stream);
    stream->kind = DEAD;
    return unlock(current->error);
}

int cuStreamSynchronize(Stream *stream) {
    ENTER();
    stream = streamOf(stream);
    REQUIRE(is(stream, STREAM), INVALID_HANDLE);
    return unlock(finish(current, stream));
}

// Of the options, ILGPU gives the buffer for errors first.
int cuModuleLoadDataEx(Module **module, const char *ptx, int count, const int *options, void **values) {
    static int loads;
    char ignored[1000], *why = count > 0 && options[0] == 5 ? values[0] : ignored;
    ENTER();
    int id, none = fails("module", &loads) ? snprintf(why, sizeof ignored, "ptxas fatal") : loadModule(ptx, &id, why, sizeof ignored);
    REQUIRE(!none, INVALID_PTX);
    *module = make(MODULE, sizeof **module);
    (*module)->id = id;
    (*module)->ptx = strdup(ptx);
    return unlock(SUCCESS);
}

int cuModuleLoadData(Module **module, const char *ptx) { return cuModuleLoadDataEx(module, ptx, 0, 0, 0); }

int cuModuleUnload(Module *module) {
    ENTER();
    REQUIRE(is(module, MODULE), INVALID_HANDLE);
    finishAll(current);
    module->kind = DEAD;
    return unlock(current->error);
}

int cuModuleGetFunction(Function **function, Module *module, const char *name) {
    char entry[500];
    ENTER();
    REQUIRE(is(module, MODULE), INVALID_HANDLE);
    snprintf(entry, sizeof entry, ".entry %s(", name);
    REQUIRE(strstr(module->ptx, entry), NOT_FOUND);
    *function = make(FUNCTION, sizeof **function);
    (*function)->module = module;
    return unlock(SUCCESS);
}

// ILGPU gives the arguments as one block: the extra array says 1, its address, 2, the address of its size, 0.
int cuLaunchKernel(Function *function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned groupX, unsigned groupY, unsigned groupZ,
    unsigned sharedBytes, Stream *stream, void **arguments, void **extra) {
    static int count;
    ENTER();
    stream = streamOf(stream);
    REQUIRE(is(stream, STREAM) && is(function, FUNCTION) && is(function->module, MODULE), INVALID_HANDLE);
    REQUIRE(gridX >= 1 && gridX <= 2147483647 && gridY >= 1 && gridY <= 65535 && gridZ >= 1 && gridZ <= 65535, INVALID_VALUE);
    REQUIRE(groupX >= 1 && groupX <= 1024 && sharedBytes <= 49152, INVALID_VALUE);
    REQUIRE(groupY == 1 && groupZ == 1 && sharedBytes == 0, NOT_SUPPORTED);
    REQUIRE(!arguments && extra && extra[0] == (void *)1 && extra[2] == (void *)2 && !extra[4], NOT_SUPPORTED);
    REQUIRE(!fails("refuse", &count), OUT_OF_RESOURCES);
    size_t bytes = *(size_t *)extra[3];
    REQUIRE(bytes <= 4096, INVALID_VALUE);
    Operation *launched = add(stream, bytes);
    launched->kernel = function;
    memcpy(launched->gridAndGroup, (int[]){ (int)gridX, (int)gridY, (int)gridZ, (int)groupX }, sizeof launched->gridAndGroup);
    launched->bytes = bytes;
    memcpy(launched->data, extra[1], bytes);
    return unlock(SUCCESS);
}

int cuGetErrorString(int error, const char **text) {
    static const struct { int error; const char *text; } texts[] = { { SUCCESS, "no error" }, { INVALID_VALUE, "invalid argument" },
        { OUT_OF_MEMORY, "out of memory" }, { NOT_INITIALIZED, "initialization error" }, { STUB_LIBRARY, "CUDA driver is a stub library" },
        { NO_DEVICE, "no CUDA-capable device is detected" }, { INVALID_DEVICE, "invalid device ordinal" },
        { INVALID_CONTEXT, "invalid device context" }, { INVALID_PTX, "a PTX JIT compilation failed" },
        { INVALID_HANDLE, "invalid resource handle" }, { NOT_FOUND, "named symbol not found" },
        { OUT_OF_RESOURCES, "too many resources requested for launch" }, { LAUNCH_FAILED, failure },
        { NOT_SUPPORTED, "operation not supported" } };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].error == error)
            return *text = texts[i].text, SUCCESS;
    return INVALID_VALUE;
}

// Nothing here is made of these: page-locked memory, peers, events, occupancy.
#define ABSENT(name) int name(void) { return NOT_SUPPORTED; }
ABSENT(cuCtxEnablePeerAccess)
ABSENT(cuCtxDisablePeerAccess)
ABSENT(cuDeviceGetP2PAttribute)
ABSENT(cuPointerGetAttribute)
ABSENT(cuMemAllocHost_v2)
ABSENT(cuMemFreeHost)
ABSENT(cuMemHostRegister_v2)
ABSENT(cuMemHostUnregister)
ABSENT(cuMemHostGetDevicePointer_v2)
ABSENT(cuStreamCreateWithPriority)
ABSENT(cuOccupancyMaxActiveBlocksPerMultiprocessor)
ABSENT(cuOccupancyMaxPotentialBlockSize)
ABSENT(cuEventCreate)
ABSENT(cuEventDestroy_v2)
ABSENT(cuEventQuery)
ABSENT(cuEventElapsedTime)
ABSENT(cuEventRecord)
ABSENT(cuEventSynchronize)
