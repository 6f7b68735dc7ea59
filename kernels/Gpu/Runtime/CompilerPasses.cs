using System.Collections.Immutable;
using System.Reflection;
using System.Text.RegularExpressions;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.IR.Transformations;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>
/// Changes four things in ILGPU's compiler (seen in 1.5.3).
/// <para>
/// A pass is taken out. Code placement, which the optimisation level O2 ends with, moves a load behind the last store or barrier of its
/// block where a loop or a branch takes the value: of "value = x[i]; x[i] = sum; sum += value" it made "x[i] = sum; sum += x[i]". The level
/// below has no such pass, but does not know either that kernels' arguments lie in global memory.
/// </para>
/// <para>
/// OpenCL's barriers are to order local memory too, through which the threads of a group exchange values: ILGPU has them order global
/// memory only, which happens to do on a processor.
/// </para>
/// <para>
/// PTX promises of a branch on a value that all threads seem to share that none will part from the others (bra.uni). ILGPU looks at what
/// the value is made of, but not at the branches before it, on which it depends too; NVIDIA's compiler finds out for itself.
/// </para>
/// <para>
/// PTX's powers of two that are not normal numbers are to be zero, as the instruction has it: others would take three more.
/// </para>
/// </summary>
internal static partial class CompilerPasses
{
    private const BindingFlags Hidden = BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    /// <exception cref="NotSupportedException">This version of ILGPU keeps its passes elsewhere.</exception>
    public static void KeepOrder(Accelerator accelerator)
    {
        if (Property(typeof(Accelerator), "Backend").GetValue(accelerator) is Backend backend)
            KeepOrder(backend);
    }

    /// <inheritdoc cref="KeepOrder(Accelerator)"/>
    public static void KeepOrder(Backend backend)
    {
        var property = Property(typeof(Backend), "KernelTransformers");
        var transformers = (ImmutableArray<Transformer>)property.GetValue(backend)!;
        property.SetValue(backend, ImmutableArray.CreateRange(transformers.Select(transformer => Transformer.Create(
            transformer.Configuration, transformer.Transformations.RemoveAll(pass => pass is CodePlacement)))));
    }

    /// <summary>For all OpenCL kernels that are compiled from here on.</summary>
    /// <exception cref="NotSupportedException">This version of ILGPU has its barriers elsewhere.</exception>
    public static void FenceLocalMemory()
    {
        const string Global = "CLK_GLOBAL_MEM_FENCE", Both = "CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE";
        var type = typeof(Backend).Assembly.GetType("ILGPU.Backends.OpenCL.CLInstructions");
        var flags = type?.GetField("MemoryFenceFlags", BindingFlags.Static | Hidden)?.GetValue(null) as string[];
        if (flags is not [Global or Both, _])
            throw new NotSupportedException($"ILGPU {typeof(Backend).Assembly.GetName().Version} has no CLInstructions.MemoryFenceFlags");
        flags[0] = Both;
    }

    /// <summary>Compiles an explicitly grouped kernel.</summary>
    /// <exception cref="NotSupportedException">This version of ILGPU keeps its PTX elsewhere.</exception>
    public static CompiledKernel Compile(Backend backend, MethodInfo kernel)
    {
        var compiled = backend.Compile(EntryPointDescription.FromExplicitlyGroupedKernel(kernel), default(KernelSpecialization));
        if (compiled is PTXCompiledKernel ptx)
        {
            var text = typeof(PTXCompiledKernel).GetField($"<{nameof(ptx.PTXAssembly)}>k__BackingField", Hidden)
                ?? throw new NotSupportedException($"ILGPU {typeof(Backend).Assembly.GetName().Version} keeps its PTX elsewhere");
            text.SetValue(
                ptx,
                UniformBranch().Replace(ptx.PTXAssembly, "$1bra")
                    .Replace("ex2.approx.f32", "ex2.approx.ftz.f32", StringComparison.Ordinal));
        }
        return compiled;
    }

    /// <summary>One with a condition.</summary>
    [GeneratedRegex(@"(@!?%p\d+\s+)bra\.uni\b")]
    private static partial Regex UniformBranch();

    private static PropertyInfo Property(Type type, string name) => type.GetProperty(name, Hidden)
        ?? throw new NotSupportedException($"ILGPU {type.Assembly.GetName().Version} has no {type.Name}.{name}");
}
