/* A QEMU plugin that counts the aarch64 instructions that a program executes, by class, between marks.
 *
 * A mark is the system call 0x7e57, which no kernel has, with a number as its argument. At each, one line of JSON goes to
 * the file that the plugin's argument out=FILE names: the mark's number, and for each class how many instructions all
 * threads have executed since the first mark. What is counted is a block of straight code, each time that it is entered.
 *
 * The few declarations of QEMU's plugin interface that are needed stand here, so that no header of QEMU's is: INTERFACE
 * is the version of it, 1 up to QEMU 8, 2 in QEMU 9.0, 3 from QEMU 9.1 on (include/qemu/qemu-plugin.h there).
 * Instructions are told apart by the Arm Architecture Reference Manual for A-profile (DDI 0487), chapter C4. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef INTERFACE
#error "Expected INTERFACE, the version of QEMU's plugin interface."
#endif
#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated_t)(uint64_t plugin, struct qemu_plugin_tb *block);
typedef void (*executed_t)(unsigned int cpu, void *of);
typedef void (*called_t)(uint64_t plugin, unsigned int cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t,
                         uint64_t, uint64_t, uint64_t, uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, translated_t);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_t, int flags, void *of);
extern void qemu_plugin_register_vcpu_syscall_cb(uint64_t plugin, called_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t place);
#if INTERFACE < 3
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
#else
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *into, size_t size);
#endif

EXPORT int qemu_plugin_version = INTERFACE;

enum {
    INTEGER, BRANCH, LOAD, STORE, VECTOR_LOAD, VECTOR_STORE, FUSED_MULTIPLY_ADD, DOT_PRODUCT, INTEGER_MULTIPLY, VECTOR,
    SYSTEM, CLASSES
};
static const char *const NAMES[CLASSES] = {
    "integer", "branch", "load", "store", "vector_load", "vector_store", "fused_multiply_add", "dot_product",
    "vector_integer_multiply", "other_vector_and_float", "system"};

/* Bits high to low of an instruction. */
static uint32_t bits(uint32_t word, int high, int low) { return (word >> low) & ((2u << (high - low)) - 1); }

static int memory_class(uint32_t word) {
    int vector = bits(word, 26, 26), group = bits(word, 29, 27), option = bits(word, 23, 22), load;
    if (group == 1 && vector)                                 /* structures: LD1 to LD4, ST1 to ST4 */
        load = option & 1;
    else if (group == 1 || group == 5)                        /* exclusive, ordered, compare and swap; pairs */
        load = option & 1;
    else if (group == 3 && bits(word, 25, 24) == 0)           /* literal */
        load = 1;
    else if (vector)                                          /* one register: options 0 and 2 (128 bits) store */
        load = option & 1;
    else                                                      /* one register; atomics that return what was there */
        load = option != 0;
    if (vector)
        return load ? VECTOR_LOAD : VECTOR_STORE;
    return load ? LOAD : STORE;
}

static int vector_class(uint32_t word) {
    uint32_t opcode;
    if (bits(word, 31, 24) == 0x1f)                           /* FMADD, FMSUB, FNMADD, FNMSUB */
        return FUSED_MULTIPLY_ADD;
    if (bits(word, 31, 31) || bits(word, 28, 25) != 7)
        return VECTOR;
    if (bits(word, 24, 24)) {                                 /* by element, and modified immediates and shifts */
        if (bits(word, 10, 10))
            return VECTOR;
        opcode = bits(word, 29, 29) << 4 | bits(word, 15, 12);
        switch (opcode) {
        case 0x01: case 0x05:                                 /* FMLA, FMLS */
            return FUSED_MULTIPLY_ADD;
        case 0x0e: case 0x1e: case 0x0f:                      /* SDOT, UDOT, USDOT and SUDOT */
            return DOT_PRODUCT;
        case 0x02: case 0x03: case 0x06: case 0x07: case 0x08: case 0x0a: case 0x0b: case 0x0c: case 0x0d: /* SMLAL... */
        case 0x10: case 0x12: case 0x14: case 0x16: case 0x1a: case 0x1d: case 0x1f:                       /* MLA... */
            return INTEGER_MULTIPLY;
        }
        return VECTOR;
    }
    if (bits(word, 21, 21) == 0) {
        if (bits(word, 15, 15) && bits(word, 10, 10)) {       /* three registers, extension */
            opcode = bits(word, 14, 11);
            if (opcode <= 1)                                  /* SQRDMLAH, SQRDMLSH */
                return INTEGER_MULTIPLY;
            if (opcode >= 2 && opcode <= 5)                   /* SDOT, UDOT, USDOT, SMMLA */
                return DOT_PRODUCT;
        }
        if (bits(word, 22, 22) && bits(word, 15, 11) == 1 && bits(word, 10, 10) && !bits(word, 29, 29))
            return FUSED_MULTIPLY_ADD;                        /* FMLA and FMLS of half precision */
        return VECTOR;
    }
    if (bits(word, 10, 10)) {                                 /* three registers, same type */
        opcode = bits(word, 15, 11);
        if (opcode == 0x19 && !bits(word, 29, 29))            /* FMLA, FMLS */
            return FUSED_MULTIPLY_ADD;
        return opcode == 0x12 || opcode == 0x13 || opcode == 0x16 ? INTEGER_MULTIPLY : VECTOR; /* MLA, MUL, SQDMULH */
    }
    if (bits(word, 11, 10) == 0) {                            /* three registers, the result twice as wide */
        opcode = bits(word, 15, 12);
        return opcode >= 8 && opcode <= 14 ? INTEGER_MULTIPLY : VECTOR;
    }
    return VECTOR;
}

/* The class of an instruction; exported so that it can be called with known ones. */
EXPORT int edgewright_class(uint32_t word) {
    uint32_t group = bits(word, 28, 25);
    if (group == 8 || group == 9 || (group & 7) == 5)
        return INTEGER;
    if ((group & 14) == 10)
        return bits(word, 31, 24) == 0xd4 || bits(word, 31, 22) == 0x354 ? SYSTEM : BRANCH;
    if ((group & 5) == 4)
        return memory_class(word);
    if ((group & 7) == 7)
        return vector_class(word);
    return group == 2 ? VECTOR : SYSTEM;                      /* SVE, which no Raspberry Pi has; what is reserved */
}

EXPORT const char *edgewright_class_name(int class) { return class >= 0 && class < CLASSES ? NAMES[class] : NULL; }

/* One row for each thread, far enough apart that threads do not share cache lines; the last for all beyond. */
#define THREADS 256
static struct { uint64_t counts[CLASSES]; char apart[128]; } executed[THREADS];
typedef struct { uint32_t counts[CLASSES]; } block_t;
static FILE *out;
static volatile int marked;                                   /* what comes before the first mark is not counted */

static void on_executed(unsigned int cpu, void *of) {
    const block_t *block = of;
    if (!marked)
        return;
    uint64_t *counts = executed[cpu < THREADS ? cpu : THREADS - 1].counts;
    for (int class = 0; class < CLASSES; class++)
        counts[class] += block->counts[class];
}

static void on_translated(uint64_t plugin, struct qemu_plugin_tb *block) {
    block_t *made = calloc(1, sizeof *made);                  /* for as long as the process runs, like the translation */
    if (!made)
        abort();
    for (size_t place = 0; place < qemu_plugin_tb_n_insns(block); place++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, place);
        uint32_t word = 0;
#if INTERFACE < 3
        memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#else
        qemu_plugin_insn_data(instruction, &word, sizeof word);
#endif
        made->counts[edgewright_class(word)]++;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_executed, 0, made);
}

static void on_called(uint64_t plugin, unsigned int cpu, int64_t number, uint64_t mark, uint64_t b, uint64_t c,
                      uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    if (number != 0x7e57)
        return;
    marked = 1;
    fprintf(out, "{\"mark\": %" PRIu64, mark);
    for (int class = 0; class < CLASSES; class++) {
        uint64_t sum = 0;
        for (int thread = 0; thread < THREADS; thread++)
            sum += executed[thread].counts[class];
        fprintf(out, ", \"%s\": %" PRIu64, NAMES[class], sum);
    }
    fprintf(out, "}\n");
    fflush(out);
}

EXPORT int qemu_plugin_install(uint64_t plugin, const void *info, int argc, char **argv) {
    for (int place = 0; place < argc; place++)
        if (!strncmp(argv[place], "out=", 4))
            out = fopen(argv[place] + 4, "w");
    if (!out) {
        fprintf(stderr, "edgewright: expected out=FILE that can be written\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(plugin, on_called);
    return 0;
}
