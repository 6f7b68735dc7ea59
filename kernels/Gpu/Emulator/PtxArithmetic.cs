using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Bert4Rec.Kernels.Gpu.Emulator;

/// <summary>What lanes compute in registers. Opcodes that no kernel has are not here.</summary>
internal static class PtxArithmetic
{
    /// <exception cref="NotSupportedException">The opcode is not known here.</exception>
    public static Action<Warp> Decode(PtxProgram program, string opcode, string[] operands)
    {
        var o = new Operands(program, operands);
        string[] parts = opcode.Split('.');
        return opcode switch
        {
            "mov.b32" or "mov.f32" or "mov.u32" or "mov.s32" => o.Map<uint>(a => a),
            "mov.b64" or "mov.u64" or "mov.s64" or "cvta.to.global.u64" => o.Map<ulong>(a => a),
            "add.f32" => o.Sum(),
            "mul.f32" => o.Product(),
            "sub.f32" => o.Map<float>((a, b) => a - b),
            "fma.rn.f32" => o.Map<float>(Vector256.FusedMultiplyAdd),
            "div.rn.f32" => o.Map<float>((a, b) => a / b),
            "rcp.rn.f32" => o.Map<float>(a => Vector256.Create(1f) / a),
            "sqrt.rn.f32" => o.Map<float>(Vector256.Sqrt),
            "ex2.approx.ftz.f32" => o.Convert<float, float>(PowerOfTwo),
            "neg.f32" => o.Map<uint>(a => a ^ Vector256.Create(0x80000000u)),
            "abs.f32" => o.Map<uint>(a => a & Vector256.Create(0x7FFFFFFFu)),
            "add.s32" or "add.u32" => o.Map<uint>((a, b) => a + b),
            "sub.s32" or "sub.u32" => o.Map<uint>((a, b) => a - b),
            "mul.lo.s32" or "mul.lo.u32" => o.Map<uint>((a, b) => a * b),
            "mad.lo.s32" or "mad.lo.u32" => o.Map<uint>((a, b, c) => (a * b) + c),
            "neg.s32" => o.Map<uint>(a => -a),
            "min.s32" => o.Map<int>(Vector256.Min),
            "max.s32" => o.Map<int>(Vector256.Max),
            "min.u32" => o.Map<uint>(Vector256.Min),
            "max.u32" => o.Map<uint>(Vector256.Max),
            "and.b32" => o.Map<uint>((a, b) => a & b),
            "or.b32" => o.Map<uint>((a, b) => a | b),
            "xor.b32" => o.Map<uint>((a, b) => a ^ b),
            "not.b32" => o.Map<uint>(a => ~a),
            "add.s64" or "add.u64" => o.Map<ulong>((a, b) => a + b),
            "sub.s64" or "sub.u64" => o.Map<ulong>((a, b) => a - b),
            "mul.lo.s64" or "mul.lo.u64" => o.Map<ulong>((a, b) => a * b),
            "mad.lo.s64" or "mad.lo.u64" => o.Map<ulong>((a, b, c) => (a * b) + c),
            "and.b64" => o.Map<ulong>((a, b) => a & b),
            "or.b64" => o.Map<ulong>((a, b) => a | b),
            "min.s64" => o.Map<long>(Vector256.Min),
            "max.s64" => o.Map<long>(Vector256.Max),
            // Shifts by as many bits as there are, or more, leave nothing but the sign.
            "shl.b32" => o.Each<uint, uint, uint>((a, n) => n > 31 ? 0 : a << (int)n),
            "shr.u32" => o.Each<uint, uint, uint>((a, n) => n > 31 ? 0 : a >> (int)n),
            "shr.s32" => o.Each<int, uint, int>((a, n) => a >> (int)Math.Min(n, 31)),
            "shl.b64" => o.Each<ulong, uint, ulong>((a, n) => n > 63 ? 0 : a << (int)n),
            "shr.u64" => o.Each<ulong, uint, ulong>((a, n) => n > 63 ? 0 : a >> (int)n),
            "shr.s64" => o.Each<long, uint, long>((a, n) => a >> (int)Math.Min(n, 63)),
            // What is divided by zero is not defined.
            "div.s32" => o.Each<int>((a, b) => b == 0 ? -1 : b == -1 ? -a : a / b),
            "rem.s32" => o.Each<int>((a, b) => b is 0 or -1 ? 0 : a % b),
            "div.u32" => o.Each<uint>((a, b) => b == 0 ? uint.MaxValue : a / b),
            "rem.u32" => o.Each<uint>((a, b) => b == 0 ? a : a % b),
            "div.s64" => o.Each<long>((a, b) => b == 0 ? -1 : b == -1 ? -a : a / b),
            "rem.s64" => o.Each<long>((a, b) => b is 0 or -1 ? 0 : a % b),
            "mul.wide.u32" => o.Each<uint, uint, ulong>((a, b) => (ulong)a * b),
            "mul.wide.s32" => o.Each<int, int, long>((a, b) => (long)a * b),
            "cvt.s64.s32" => o.Convert<int, long>(a => a),
            "cvt.u64.u32" => o.Convert<uint, ulong>(a => a),
            "cvt.u32.u64" or "cvt.s32.s64" => o.Convert<ulong, uint>(a => (uint)a),
            "cvt.rn.f32.s32" => o.Convert<int, float>(a => a),
            "cvt.rn.f32.u32" => o.Convert<uint, float>(a => a),
            // Out of range the nearest integer, and 0 for NaN: as C# has it.
            "cvt.rzi.s32.f32" => o.Convert<float, int>(a => (int)a),
            "cvt.rna.tf32.f32" => o.Map<uint>(a => (a + Vector256.Create(0x1000u)) & Vector256.Create(0xFFFFE000u)),
            // The first operand to the upper half.
            "cvt.rn.bf16x2.f32" => o.Map<uint>((a, b) => (Bfloat(a) << 16) | Bfloat(b)),
            "selp.b32" or "selp.f32" or "selp.s32" or "selp.u32" => o.Select<uint>(),
            "selp.b64" or "selp.s64" or "selp.u64" => o.Select<ulong>(),
            "mov.pred" => o.Predicates((a, _) => a),
            "and.pred" => o.Predicates((a, b) => a & b),
            "or.pred" => o.Predicates((a, b) => a | b),
            "xor.pred" => o.Predicates((a, b) => a ^ b),
            "not.pred" => o.Predicates((a, _) => ~a),
            _ when parts is ["setp", var comparison, var type] => type switch
            {
                "f32" => o.CompareFloats(comparison),
                "s32" => o.Compare<int>(comparison),
                "u32" or "b32" => o.Compare<uint>(comparison),
                "s64" => o.Compare<long>(comparison),
                "u64" or "b64" => o.Compare<ulong>(comparison),
                _ => throw Unknown(opcode),
            },
            _ => throw Unknown(opcode),
        };
    }

    /// <summary>2^x, wrong by as much as NVIDIA allows its devices, 2^-22.5 of it: without the last two bits.</summary>
    private static float PowerOfTwo(float x)
    {
        float power = MathF.Pow(2f, x);
        return power < 1.17549435e-38f ? 0f
            : float.IsFinite(power) ? BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(power) & ~3u) : power;
    }

    /// <summary>The nearest bfloat16, to the even one where two are as near; of NaN the one that NVIDIA's devices have.</summary>
    private static Vector256<uint> Bfloat(Vector256<uint> x) => Vector256.ConditionalSelect(
        Vector256.Equals(x.AsSingle(), x.AsSingle()).AsUInt32(),
        (x + Vector256.Create(0x7FFFu) + ((x >> 16) & Vector256<uint>.One)) >> 16,
        Vector256.Create(0x7FFFu));

    private static NotSupportedException Unknown(string opcode) => new($"the opcode {opcode} is not known");

    /// <summary>The operands of an instruction, the first of which is set.</summary>
    private readonly struct Operands(PtxProgram program, string[] text)
    {
        /// <summary>The commonest, without a call for each vector.</summary>
        public Action<Warp> Sum()
        {
            int d = program.Register<float>(text[0]), a = program.Operand<float>(text[1]), b = program.Operand<float>(text[2]);
            return warp =>
            {
                for (int i = 0; i < sizeof(float); i++)
                    warp.Set(d, i, warp.At<float>(a, i) + warp.At<float>(b, i));
            };
        }

        /// <inheritdoc cref="Sum"/>
        public Action<Warp> Product()
        {
            int d = program.Register<float>(text[0]), a = program.Operand<float>(text[1]), b = program.Operand<float>(text[2]);
            return warp =>
            {
                for (int i = 0; i < sizeof(float); i++)
                    warp.Set(d, i, warp.At<float>(a, i) * warp.At<float>(b, i));
            };
        }

        public Action<Warp> Map<T>(Func<Vector256<T>, Vector256<T>> f)
        {
            int d = program.Register<T>(text[0]), a = program.Operand<T>(text[1]);
            return warp =>
            {
                for (int i = 0; i < Unsafe.SizeOf<T>(); i++)
                    warp.Set(d, i, f(warp.At<T>(a, i)));
            };
        }

        public Action<Warp> Map<T>(Func<Vector256<T>, Vector256<T>, Vector256<T>> f)
        {
            int d = program.Register<T>(text[0]), a = program.Operand<T>(text[1]), b = program.Operand<T>(text[2]);
            return warp =>
            {
                for (int i = 0; i < Unsafe.SizeOf<T>(); i++)
                    warp.Set(d, i, f(warp.At<T>(a, i), warp.At<T>(b, i)));
            };
        }

        public Action<Warp> Map<T>(Func<Vector256<T>, Vector256<T>, Vector256<T>, Vector256<T>> f)
        {
            int d = program.Register<T>(text[0]), a = program.Operand<T>(text[1]), b = program.Operand<T>(text[2]);
            int c = program.Operand<T>(text[3]);
            return warp =>
            {
                for (int i = 0; i < Unsafe.SizeOf<T>(); i++)
                    warp.Set(d, i, f(warp.At<T>(a, i), warp.At<T>(b, i), warp.At<T>(c, i)));
            };
        }

        public Action<Warp> Each<T>(Func<T, T, T> f)
            where T : unmanaged => Each<T, T, T>(f);

        /// <summary>Lane by lane: what has no vectors, and must not meet what lies in the other lanes.</summary>
        public Action<Warp> Each<T, TOther, TResult>(Func<T, TOther, TResult> f)
            where T : unmanaged
            where TOther : unmanaged
            where TResult : unmanaged
        {
            int d = program.Register<TResult>(text[0]), a = program.Operand<T>(text[1]), b = program.Operand<TOther>(text[2]);
            return warp =>
            {
                foreach (int lane in warp.ActiveLanes)
                    warp.Lane<TResult>(d, lane) = f(warp.Lane<T>(a, lane), warp.Lane<TOther>(b, lane));
            };
        }

        /// <inheritdoc cref="Each{T, TOther, TResult}"/>
        public Action<Warp> Convert<T, TResult>(Func<T, TResult> f)
            where T : unmanaged
            where TResult : unmanaged
        {
            int d = program.Register<TResult>(text[0]), a = program.Operand<T>(text[1]);
            return warp =>
            {
                foreach (int lane in warp.ActiveLanes)
                    warp.Lane<TResult>(d, lane) = f(warp.Lane<T>(a, lane));
            };
        }

        public Action<Warp> Select<T>()
        {
            int d = program.Register<T>(text[0]), a = program.Operand<T>(text[1]), b = program.Operand<T>(text[2]);
            int condition = program.Predicate(text[3]);
            return warp =>
            {
                uint lanes = warp.Predicates[condition];
                for (int i = 0; i < Unsafe.SizeOf<T>(); i++)
                    warp.Set(d, i, Vector256.ConditionalSelect(Warp.Mask<T>(lanes, i), warp.At<T>(a, i), warp.At<T>(b, i)));
            };
        }

        public Action<Warp> Predicates(Func<uint, uint, uint> f)
        {
            int d = program.Predicate(text[0]);
            if (text is [_, "0" or "1"])
            {
                uint all = text[1] == "0" ? 0 : uint.MaxValue;
                return warp => SetPredicate(warp, d, f(all, all));
            }
            int a = program.Predicate(text[1]), b = text.Length > 2 ? program.Predicate(text[2]) : a;
            return warp => SetPredicate(warp, d, f(warp.Predicates[a], warp.Predicates[b]));
        }

        public Action<Warp> Compare<T>(string comparison) => comparison switch
        {
            "eq" => Compare<T>(Vector256.Equals),
            "ne" => Compare<T>((a, b) => ~Vector256.Equals(a, b)),
            "lt" or "lo" => Compare<T>(Vector256.LessThan),
            "le" or "ls" => Compare<T>(Vector256.LessThanOrEqual),
            "gt" or "hi" => Compare<T>(Vector256.GreaterThan),
            "ge" or "hs" => Compare<T>(Vector256.GreaterThanOrEqual),
            _ => throw Unknown($"setp.{comparison}"),
        };

        /// <summary>With a u behind it, a comparison is true where one of the two is NaN, else false.</summary>
        public Action<Warp> CompareFloats(string comparison) => comparison switch
        {
            "ne" => Compare<float>((a, b) => Vector256.LessThan(a, b) | Vector256.GreaterThan(a, b)),
            "equ" => Compare<float>((a, b) => ~(Vector256.LessThan(a, b) | Vector256.GreaterThan(a, b))),
            "neu" => Compare<float>((a, b) => ~Vector256.Equals(a, b)),
            "ltu" => Compare<float>((a, b) => ~Vector256.GreaterThanOrEqual(a, b)),
            "leu" => Compare<float>((a, b) => ~Vector256.GreaterThan(a, b)),
            "gtu" => Compare<float>((a, b) => ~Vector256.LessThanOrEqual(a, b)),
            "geu" => Compare<float>((a, b) => ~Vector256.LessThan(a, b)),
            "eq" or "lt" or "le" or "gt" or "ge" => Compare<float>(comparison),
            _ => throw Unknown($"setp.{comparison}.f32"),
        };

        private Action<Warp> Compare<T>(Func<Vector256<T>, Vector256<T>, Vector256<T>> f)
        {
            int d = program.Predicate(text[0]), a = program.Operand<T>(text[1]), b = program.Operand<T>(text[2]);
            return warp =>
            {
                uint lanes = 0;
                for (int i = 0; i < Unsafe.SizeOf<T>(); i++)
                    lanes |= f(warp.At<T>(a, i), warp.At<T>(b, i)).ExtractMostSignificantBits() << (Vector256<T>.Count * i);
                SetPredicate(warp, d, lanes);
            };
        }

        private static void SetPredicate(Warp warp, int index, uint lanes) =>
            warp.Predicates[index] = (warp.Predicates[index] & ~warp.Active) | (lanes & warp.Active);
    }
}
