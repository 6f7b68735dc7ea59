using System.Reflection;
using ILGPU;
using ILGPU.Backends.PTX;
using ILGPU.Runtime.Cuda;

namespace Bert4Rec.Kernels.Gpu.Runtime;

/// <summary>Compiles kernels for NVIDIA's devices where there is none.</summary>
internal sealed class PtxCompiler : IDisposable
{
    private readonly Context _context;
    private readonly PTXBackend _backend;

    /// <param name="major">Of the compute capability.</param>
    /// <param name="minor">Of the compute capability.</param>
    /// <param name="configure">Adds to the compiler; null for nothing.</param>
    public PtxCompiler(int major, int minor, Action<Context.Builder>? configure = null)
    {
        _context = Context.Create(builder =>
        {
            GpuDevices.Configure(builder);
            configure?.Invoke(builder);
        });
        var architecture = new CudaArchitecture(major, minor);
        _backend = new(_context, new CudaCapabilityContext(architecture), architecture, CudaInstructionSet.ISA_78, null);
        CompilerPasses.KeepOrder(_backend);
    }

    /// <summary>The kernel as PTX.</summary>
    public string Compile(MethodInfo kernel) => ((PTXCompiledKernel)CompilerPasses.Compile(_backend, kernel)).PTXAssembly;

    /// <summary>"Attention.Forward&lt;Columns64, WideAccess&gt;"; of a type's only kernel, "Product&lt;…&gt;".</summary>
    public static string NameOf(MethodInfo kernel)
    {
        string name = $"{Plain(kernel.DeclaringType!)}.{kernel.Name.Replace("Kernel", "", StringComparison.Ordinal)}".TrimEnd('.');
        Type[] arguments = [.. kernel.DeclaringType!.GetGenericArguments(), .. kernel.GetGenericArguments()];
        return arguments.Length == 0 ? name : $"{name}<{string.Join(", ", arguments.Select(Full))}>";
    }

    public void Dispose()
    {
        _backend.Dispose();
        _context.Dispose();
    }

    private static string Plain(Type type) => type.Name.Split('`')[0];

    /// <summary>"TensorCoreProducts&lt;Tf32Core&gt;"</summary>
    private static string Full(Type type) => type.IsGenericType
        ? $"{Plain(type)}<{string.Join(", ", type.GetGenericArguments().Select(Full))}>" : type.Name;
}
