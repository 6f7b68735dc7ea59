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
}
