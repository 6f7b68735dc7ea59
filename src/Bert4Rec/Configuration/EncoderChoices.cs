namespace Bert4Rec.Configuration;

/// <summary>Which event of a sequence has position 0.</summary>
internal enum PositionOrder
{
    Oldest,
    Newest,
}

/// <summary>How the first values of matrices and tables are drawn.</summary>
internal enum Initializer
{
    /// <summary>With the standard deviation initializer_range.</summary>
    Normal,

    /// <summary>
    /// With the standard deviation √(2 / (rows + columns)), which keeps what goes through a layer, and its gradient, of about one size
    /// (Glorot and Bengio, 2010).
    /// </summary>
    Xavier,
}

/// <summary>What becomes of the learning rate after the warm-up.</summary>
internal enum LearningRateSchedule
{
    /// <summary>It stays.</summary>
    Constant,

    /// <summary>It falls evenly to 0.</summary>
    Linear,

    /// <summary>It falls to 0 along half a cosine: slowly at first and at the end.</summary>
    Cosine,
}
