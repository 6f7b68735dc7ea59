namespace Bert4Rec.Kernels;

/// <summary>In what precision the GPU's products are multiplied; they are added up in float32 always.</summary>
public enum Precision
{
    /// <summary>float32, on every device.</summary>
    Full,

    /// <summary>
    /// TF32 on tensor cores: operands are rounded to eleven significant bits. CUDA devices of compute capability 8.0 and later.
    /// </summary>
    Tf32,

    /// <summary>bfloat16 on tensor cores: operands are rounded to eight significant bits. The same devices.</summary>
    Bf16,
}

/// <summary>What the command line and results call a <see cref="Precision"/>.</summary>
public static class PrecisionNames
{
    /// <summary>In the order of the precisions: "fp32", "tf32", "bf16".</summary>
    public static IReadOnlyList<string> All { get; } = ["fp32", "tf32", "bf16"];

    /// <summary>One of <see cref="All"/>.</summary>
    public static string Name(this Precision precision) => All[(int)precision];

    /// <summary>The precision of that name; null for any other.</summary>
    public static Precision? Find(string name) =>
        All.Contains(name) ? Enum.GetValues<Precision>().First(found => found.Name() == name) : null;
}
